//! Owns: formats of times, sizes and numbers for people.

/// `0.2 s`, `41 s`, `3 min 20 s`, `2 h 5 min`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `812 B`, `3.4 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, next);
    }
    if size < 10.0 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

/// `0.83 EUR`, `4,247 EUR`; amounts below a hundredth have two significant digits.
pub fn money(amount: f64, currency: &str) -> String {
    let text = match amount {
        0.0 => "0".to_owned(),
        amount if amount >= 1e15 => format!("{amount:.2e}"),
        amount if amount >= 1000.0 => count(amount.round() as i64),
        amount if amount >= 0.01 => format!("{amount:.2}"),
        amount => {
            let places = (1.0 - amount.log10().floor()).clamp(2.0, 12.0) as usize;
            format!("{amount:.places$}")
        }
    };
    format!("{text} {currency}").trim_end().to_owned()
}

/// `4,247`, `0.4213`, `25.61`.
pub fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return count(value as i64);
    }
    match value.abs() {
        size if size.is_infinite() => format!("{value}"),
        size if size >= 1e15 => format!("{value:.4e}"),
        size if size >= 1000.0 => count(value.round() as i64),
        size if size >= 10.0 => format!("{value:.2}"),
        size if size >= 1e-3 => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}

fn count(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (position, digit) in digits.char_indices() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_fit_the_size() {
        assert_eq!(
            [seconds(0.21), seconds(41.4), seconds(200.0), seconds(7500.0)],
            ["0.2 s", "41 s", "3 min 20 s", "2 h 5 min"]
        );
        assert_eq!([bytes(812), bytes(3_565_158), bytes(34 << 30)], ["812 B", "3.4 MiB", "34 GiB"]);
        let money = |amount| money(amount, "EUR");
        assert_eq!(
            [money(0.0), money(0.000_834), money(0.5), money(12.345), money(4247.2)],
            ["0 EUR", "0.00083 EUR", "0.50 EUR", "12.35 EUR", "4,247 EUR"]
        );
        assert_eq!(
            [figure(4247.0), figure(-12.345), figure(0.42134), figure(1e-7)],
            ["4,247", "-12.35", "0.4213", "1.000e-7"]
        );
        assert_eq!(
            [figure(1e26), figure(-1e26), figure(f64::NAN), figure(f64::INFINITY), figure(f64::NEG_INFINITY)],
            ["1.0000e26", "-1.0000e26", "NaN", "inf", "-inf"]
        );
        assert_eq!(money(1e26), "1.00e26 EUR");
    }
}
