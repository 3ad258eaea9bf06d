//! Addresses as they are compared: two that name the same page are the same text.

/// An address without what two addresses of one page may differ in: the scheme and its default port, user, case and
/// `www.` of the host, the fragment, and a slash at the end. Parameters and the case of the path stay.
pub fn plain(url: &str) -> String {
    let rest = url.trim();
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = host_and_port(authority);
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let authority =
        if default.is_empty() { &authority } else { authority.strip_suffix(default).unwrap_or(&authority) };
    let authority = authority.strip_prefix("www.").unwrap_or(authority);
    format!("{authority}{}", path.strip_suffix('/').unwrap_or(path))
}

/// The host of an address, in lower case and without `www.`; empty if it has none.
pub fn host(url: &str) -> String {
    let Some((_, rest)) = url.trim().split_once("://") else { return String::new() };
    let authority = host_and_port(rest.split(['/', '?', '#']).next().unwrap_or_default());
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => &authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.strip_prefix("www.").unwrap_or(host).to_owned()
}

/// The hosts that a host belongs to: itself, and those that it is a part of; without top-level domains.
pub fn hosts_above(host: &str) -> impl Iterator<Item = &str> {
    let starts = std::iter::once(0).chain(host.match_indices('.').map(|(at, _)| at + 1));
    starts
        .map(|at| &host[at..])
        .filter(|above| above.contains('.'))
        .chain((!host.contains('.') && !host.is_empty()).then_some(host))
}

fn host_and_port(authority: &str) -> String {
    authority.rsplit('@').next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_page_are_equal() {
        let same =
            ["https://e.org/a", "http://www.E.org:80/a/", "https://u:p@e.org:443/a#x", " https://e.org/a "];
        assert!(same.iter().all(|url| plain(url) == "e.org/a"), "{:?}", same.map(plain));
        let others = [
            "https://e.org/A",
            "https://e.org/a?b",
            "https://e.org:8080/a",
            "https://x.e.org/a",
            "https://e.org:80/a",
        ];
        assert!(others.iter().all(|url| plain(url) != "e.org/a"));
        assert_eq!((plain(""), plain("https://"), plain("é#é")), ("".into(), "".into(), "é".into()));
    }

    #[test]
    fn hosts_have_no_port_and_belong_to_their_domains() {
        assert_eq!(host("https://a@www.Docs.example.org:80/x"), "docs.example.org");
        assert_eq!(
            (host("https://docs.example.org./"), host("https://WWW.e.org:8080/a")),
            ("docs.example.org".into(), "e.org".into())
        );
        assert_eq!((host("data:text/html,x"), host("")), (String::new(), String::new()));
        assert_eq!((host("e.org/x"), host("https://localhost/x")), (String::new(), "localhost".into()));
        let above: Vec<&str> = hosts_above("a.b.example.org").collect();
        assert_eq!(above, ["a.b.example.org", "b.example.org", "example.org"]);
        assert_eq!(hosts_above("localhost").collect::<Vec<_>>(), ["localhost"]);
    }
}
