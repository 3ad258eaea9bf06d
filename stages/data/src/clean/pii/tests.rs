//! Data as people write it, and what only looks like it. Numbers are the published samples of their issuers.

use super::*;
use proptest::prelude::*;

fn masked(text: &str) -> String {
    mask(text, &Pii::ALL, |_| ()).into_owned()
}

#[test]
fn every_kind_is_masked() {
    for (text, expected) in [
        ("Write to Jane.Doe+list@mail.example.co.uk.", "Write to <EMAIL_ADDRESS>."),
        (
            "<a@b.org>, 'c@d.org', mailto:e_f@g.io?x",
            "<<EMAIL_ADDRESS>>, '<EMAIL_ADDRESS>', mailto:<EMAIL_ADDRESS>?x",
        ),
        ("写信给 li@qq.com，谢谢", "写信给 <EMAIL_ADDRESS>，谢谢"),
        ("to=a.b@c.org&x", "to=<EMAIL_ADDRESS>&x"),
        (
            "from 8.8.8.8, 203.0.114.77:8080 and 93.184.216.34.",
            "from 8.8.8.8, <IP_ADDRESS>:8080 and <IP_ADDRESS>.",
        ),
        ("[2606:2800:220:1:248:1893:25c8:1946]", "[<IP_ADDRESS>]"),
        ("ping 2a00:1450::200e: ok", "ping <IP_ADDRESS>: ok"),
        ("Call +49 30 1234567 or +1 (212) 555-0123 now", "Call <PHONE_NUMBER> or <PHONE_NUMBER> now"),
        ("(212) 555-0123, 212-555-0123, 1-212-555-0123.", "<PHONE_NUMBER>, <PHONE_NUMBER>, <PHONE_NUMBER>."),
        ("电话13812345678，或138 1234 5678", "电话<PHONE_NUMBER>，或<PHONE_NUMBER>"),
        ("DE89 3704 0044 0532 0130 00, GB82WEST12345698765432", "<IBAN_CODE>, <IBAN_CODE>"),
        (
            "4111 1111 1111 1111, 378282246310005, 5555-5555-5555-4444",
            "<CREDIT_CARD>, <CREDIT_CARD>, <CREDIT_CARD>",
        ),
        ("SSN 219-09-9999.", "SSN <US_SSN>."),
        ("身份证11010519491231002X。", "身份证<CN_ID>。"),
        ("id 440524188001010014 x", "id 440524188001010014 x"),
        ("key=AKIAIOSFODNN7EXAMPLE;", "key=<API_KEY>;"),
    ] {
        assert_eq!(masked(text), expected);
    }
}

#[test]
fn keys_and_tokens_are_masked() {
    let key = format!("ghp_{}", "a1".repeat(18));
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\nabc=\n-----END RSA PRIVATE KEY-----";
    assert_eq!(masked(&format!("a {key} b {token}, {pem}.")), "a <API_KEY> b <API_KEY>, <API_KEY>.");
    let public = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\nxghp_ eyJ.eyJ.x";
    assert_eq!(masked(public), public);
}

#[test]
fn what_only_looks_like_it_stays() {
    for text in [
        "user@host, @name, a@b, me@1.2, x@-a.org, foo@bar..com",
        "let a = &b[..]; #[derive(Debug)] std::net::ToSocketAddrs a::b c::d",
        "10.0.0.1 192.168.1.254 127.0.0.1 203.0.113.77 1.2.3.4 1.2.3.4.5 256.1.1.1 12:30:45 fe80::1 ::1 2001:db8::77 2001:2::7",
        "version 2.10.14.3, section 1.2.3.12",
        "1234567890, 2026-01-02, 12345, 100 200 300, 3.14159265358979, 2026-11-28 03:45:00",
        "4111 1111 1111 1112, 0000 0000 0000 0000, 1234567812345670",
        "000-12-3456 666-12-3456 900-12-3456 123-00-4567 1-219-09-9999",
        "11010519491231002A 110105194912310021 990105194912310025",
        "DE89 3704 0044 0532 0130 01, XX89370400440532013000, ABDE89370400440532013000",
        "ISBN 978-3-16-148410-0, 0x7fffffffffffffff, f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "sk-learn, sk-short, AKIA, hf_hub, xoxb-",
        "x = 5 - 3 + (2 - 1) - 1234 + 12345678, 250 300 1200",
    ] {
        assert_eq!(masked(text), text);
    }
}

#[test]
fn only_the_kinds_that_are_asked_for_are_masked_and_counted() {
    let mut counted = Vec::new();
    let text = "a@b.org c@d.org 219-09-9999";
    let result = mask(text, &[Pii::Email], |kind| counted.push(kind));
    assert_eq!(
        (result.as_ref(), counted),
        ("<EMAIL_ADDRESS> <EMAIL_ADDRESS> 219-09-9999", vec![Pii::Email; 2])
    );
    assert!(matches!(mask("nothing here", &Pii::ALL, |_| ()), Cow::Borrowed(_)));
}

#[test]
fn time_grows_with_the_text() {
    for piece in [
        "@",
        "a@",
        "1",
        "1 ",
        "1-",
        "+1",
        "(2",
        "-----BEGIN ",
        "eyJ",
        "1.",
        ":",
        "DE89 ",
        "a.b@c.d.",
        "X",
        "1x",
    ] {
        let text = piece.repeat(400_000);
        let began = std::time::Instant::now();
        masked(&text);
        assert!(began.elapsed().as_secs() < 20, "{piece} took {:?}", began.elapsed());
    }
}

proptest! {
    #[test]
    fn any_text_is_masked_without_a_panic(text in "[@.:a-fA-Z0-9 +()xX灯-]{0,80}") {
        let count = std::cell::Cell::new(0);
        let masked = mask(&text, &Pii::ALL, |_| count.set(count.get() + 1)).into_owned();
        prop_assert_eq!(masked.matches('<').count(), count.get());
    }
}
