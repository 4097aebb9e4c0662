//! `strftime_now` of chat templates. The engine has no clock: the caller says what time it is.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The instant `unix` (seconds, UTC) by a format of strftime; a directive that is not known stays as it is.
pub(super) fn strftime(format: &str, unix: i64) -> String {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (month_name, day_name) = (MONTHS[month - 1], DAYS[days.rem_euclid(7) as usize]);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('Y')) => out.push_str(&year.to_string()),
            ('%', Some('y')) => out.push_str(&format!("{:02}", year.rem_euclid(100))),
            ('%', Some('m')) => out.push_str(&format!("{month:02}")),
            ('%', Some('d')) => out.push_str(&format!("{day:02}")),
            ('%', Some('e')) => out.push_str(&format!("{day:2}")),
            ('%', Some('B')) => out.push_str(month_name),
            ('%', Some('b')) => out.push_str(&month_name[..3]),
            ('%', Some('A')) => out.push_str(day_name),
            ('%', Some('a')) => out.push_str(&day_name[..3]),
            ('%', Some('H')) => out.push_str(&format!("{:02}", second / 3600)),
            ('%', Some('M')) => out.push_str(&format!("{:02}", second / 60 % 60)),
            ('%', Some('S')) => out.push_str(&format!("{:02}", second % 60)),
            ('%', Some('%')) => out.push('%'),
            ('%', Some(other)) => out.extend(['%', other]),
            (c, _) => out.push(c),
        }
    }
    out
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let moved = (5 * day_of_year + 2) / 153;
    let month = if moved < 10 { moved + 3 } else { moved - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as usize, day_of_year - (153 * moved + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(strftime("%a %d %B %Y, %H:%M:%S%%", 0), "Thu 01 January 1970, 00:00:00%");
        assert_eq!(strftime("%A %e %b %y %m %Q", 951_782_400), "Tuesday 29 Feb 00 02 %Q");
        assert_eq!(strftime("%d %b %Y", -1), "31 Dec 1969");
        assert_eq!(strftime("100%", 0), "100%");
    }
}
