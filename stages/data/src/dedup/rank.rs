//! Which of several copies is kept: their ranks as integers, of which the highest wins.

use crate::documents::Row;
use pipe_stage::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which of the documents with one address is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The one with the latest `date`; documents without a date rank lowest.
    Newest,
    /// The longest in characters.
    Longest,
    /// The one with the highest `score`.
    Best,
    /// The first one in the order of the input.
    First,
}

/// Rank among near-duplicates: the score, or the length in characters. With a score, it is 0 for documents without it, and
/// for no others.
pub(super) fn rank(row: &Row, score: Option<&str>) -> Result<u64> {
    let Some(field) = score else { return Ok(row.document.text.chars().count() as u64) };
    let Some(fact) = row.fact(field) else { return Ok(0) };
    let score = fact.number().ok_or_else(|| {
        let (id, value) = (&row.document.id, fact.text());
        Error::input(format!("metadata `{field}` of document `{id}` is `{value}`, not a number"))
            .help("name a field with numbers as `score`")
    })?;
    // Maps the order of the numbers to an order of unsigned integers.
    let bits = score.to_bits();
    Ok(if score.is_sign_negative() { !bits } else { bits | 1 << 63 })
}

/// Rank among the documents with one address.
pub(super) fn rank_of_copy(row: &Row, kept: Kept, score: Option<&str>) -> Result<u64> {
    match kept {
        Kept::Newest => {
            Ok(seconds(&row.document.date).map_or(0, |seconds| seconds.cast_unsigned() ^ 1 << 63))
        }
        Kept::Longest => rank(row, None),
        Kept::Best => rank(row, score),
        Kept::First => Ok(0),
    }
}

/// Seconds from the year 1970 to a date in ISO 8601, as in `2024`, `2024-05-01` and `2024-05-01T12:00:00.5+02:00`. Parts that
/// are missing are the first ones; without an offset, a time is that of UTC. `None` if it is no date.
fn seconds(date: &str) -> Option<i64> {
    let (day, time) = match date.trim().split_once(['T', 't', ' ']) {
        Some((day, time)) => (day, Some(time)),
        None => (date.trim(), None),
    };
    let mut parts = day.split('-');
    let year = number(parts.next()?, 4, 0..=9999)?;
    let month = parts.next().map_or(Some(1), |month| number(month, 2, 1..=12))?;
    let day = parts.next().map_or(Some(1), |day| number(day, 2, 1..=31))?;
    let mut seconds = days(year, month, day) * 86_400;
    if let Some(time) = time {
        let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
            Some(at) => (&time[..at], offset(&time[at..])?),
            None => (time, 0),
        };
        let mut parts = clock.split(':');
        let hours = number(parts.next()?, 2, 0..=24)?;
        let minutes = parts.next().map_or(Some(0), |minutes| number(minutes, 2, 0..=59))?;
        let whole = parts.next().and_then(|seconds| seconds.split(['.', ',']).next());
        seconds += hours * 3600 + minutes * 60 + whole.map_or(Some(0), |whole| number(whole, 2, 0..=60))?;
        seconds -= offset;
    }
    parts.next().is_none().then_some(seconds)
}

/// The seconds of `Z`, `+02:00` or `-0330`.
fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None => rest.split_at_checked(2)?,
    };
    let minutes = if minutes.is_empty() { 0 } else { number(minutes, 2, 0..=59)? };
    let seconds = number(hours, 2, 0..=23)? * 3600 + minutes * 60;
    Some(if sign == "-" { -seconds } else { seconds })
}

fn number(text: &str, digits: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().filter(|number| range.contains(number))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_compared_as_points_in_time() {
        assert_eq!(seconds("1970-01-01"), Some(0));
        assert_eq!(seconds("2024-02-29T12:30:15Z"), Some(1_709_209_815));
        assert_eq!(seconds("2024-05-01T12:00:00.5+02:00"), seconds("2024-05-01T10:00"));
        assert_eq!(seconds("2024-05-01 08:30:00-0330"), seconds("2024-05-01T12:00:00Z"));
        assert_eq!(seconds("2024"), seconds("2024-01-01"));
        assert!(seconds("1969-12-31") < seconds("1970") && seconds("0001-01-01").is_some());
        for none in
            ["", "today", "2024-13", "2024-05-01T", "24-05-01", "2024-05-01-02", "2024-05-01T25:00", "+024"]
        {
            assert_eq!(seconds(none), None, "{none}");
        }
    }
}
