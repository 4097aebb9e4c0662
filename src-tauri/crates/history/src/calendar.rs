//! Dates in file names, from a clock that is passed in. UTC.

/// (year, month, day) of a number of days since 1970-01-01, proleptic Gregorian.
/// `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468; // days since 0000-03-01
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153; // 0 = March
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// `2026-11-25`
pub(crate) fn day(now_ms: i64) -> String {
    let (year, month, day) = civil(now_ms.div_euclid(86_400_000));
    format!("{year:04}-{month:02}-{day:02}")
}

/// `20261125T112233Z`
pub(crate) fn second(now_ms: i64) -> String {
    let seconds = now_ms.div_euclid(1000).rem_euclid(86_400);
    let date = day(now_ms).replace('-', "");
    format!("{date}T{:02}{:02}{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_leap_days_and_the_turn_of_a_century() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400_000), "2000-02-29");
        assert_eq!(day(951_868_800_000), "2000-03-01");
        assert_eq!(day(1_795_605_753_000), "2026-11-25");
        assert_eq!(second(1_795_605_753_000), "20261125T112233Z");
        assert_eq!(day(-1), "1969-12-31");
    }
}
