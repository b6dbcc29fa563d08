//! A cron expression in a time zone: when is the next time on the wall that matches, and which instant is that.
//!
//! The expression knows nothing of zones: it names times on a wall clock. What happens where the clock jumps follows
//! Vixie cron. An expression whose minute or hour begins with `*` means a rhythm: it goes by what really passes, so times
//! that are left out are left out and times that come twice fire twice. Any other names times of day: one that is left
//! out fires once, right after the gap, and one that comes twice fires the first time.

use chrono::{
    DateTime, Duration, MappedLocalTime, NaiveDateTime, TimeZone as _, Timelike as _, Utc,
};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

/// No zone is further from UTC than this, and no clock jumps further.
const FURTHEST: i64 = 26 * 60 * 60;

const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of month", "month", "day of week"];

/// A cron expression in a zone.
#[derive(Clone, Debug)]
pub(crate) struct Cron {
    pattern: Box<croner::Cron>,
    zone: Tz,
    /// It names times of day, not a rhythm.
    fixed: bool,
}

impl Cron {
    /// Reads an expression of five fields, of six with seconds first, or a nickname such as `@daily`; says which field is
    /// wrong.
    pub(crate) fn parse(text: &str, zone: Tz) -> Result<Self, String> {
        let text = expand(text.trim());
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let names = match fields.len() {
            5 => &FIELDS[1..],
            6 => &FIELDS[..],
            count => {
                return Err(format!(
                    "has {count} fields instead of five (minute, hour, day of month, month, day of week) or six, with \
                     seconds first"
                ));
            }
        };
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let pattern = parser.parse(&text).map_err(|error| {
            // The one that is wrong by itself; the parser does not say.
            let wrong = (0..fields.len()).find(|place| {
                let alone = (0..fields.len()).map(|at| if at == *place { fields[at] } else { "*" });
                parser.parse(&alone.collect::<Vec<_>>().join(" ")).is_err()
            });
            match wrong {
                Some(place) => format!("the {} `{}` cannot be read", names[place], fields[place]),
                None => error.to_string(),
            }
        })?;
        let [minute, hour] = [fields[fields.len() - 5], fields[fields.len() - 4]];
        Ok(Self {
            pattern: Box::new(pattern),
            zone,
            fixed: !minute.starts_with('*') && !hour.starts_with('*'),
        })
    }

    /// The first slot after an instant; none when there is none.
    pub(crate) fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let started = self.wall(after);
        let mut turn = self.turn_ahead(after);
        let mut from = started;
        loop {
            let wall = self.pattern.find_next_occurrence(&from, false).ok()?;
            if let Some(at) = turn
                && after + (wall - started) >= at
            {
                // Nothing is left before the clock goes back; what it shows then comes a second time.
                turn = None;
                from = self.wall(at) - Duration::seconds(1);
                continue;
            }
            match self.instant(wall, after) {
                Ok(slot) => return Some(slot),
                Err(further) => from = further,
            }
        }
    }

    /// The instant after `after` at which the wall shows this; if there is none, where to look further.
    fn instant(
        &self,
        wall: NaiveDateTime,
        after: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, NaiveDateTime> {
        let later = |at: DateTime<Utc>| if at > after { Ok(at) } else { Err(wall) };
        match self.zone.from_local_datetime(&wall) {
            MappedLocalTime::Single(at) => later(at.to_utc()),
            MappedLocalTime::Ambiguous(first, _) if self.fixed => later(first.to_utc()),
            MappedLocalTime::Ambiguous(first, second) => {
                later(first.to_utc()).or_else(|_| later(second.to_utc()))
            }
            MappedLocalTime::None => {
                let end = self.gap_end(wall);
                if self.fixed { later(end) } else { Err(self.wall(end) - Duration::seconds(1)) }
            }
        }
    }

    /// When the clock will go back to show this instant's time again, for a rhythm, which must not miss it.
    fn turn_ahead(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.fixed {
            return None;
        }
        match self.zone.from_local_datetime(&self.wall(at)) {
            MappedLocalTime::Ambiguous(first, second) if at < second.to_utc() => {
                let (first, second) = (first.to_utc(), second.to_utc());
                let before = first.naive_utc() - self.wall(first);
                let turned = |now: DateTime<Utc>| now.naive_utc() - self.wall(now) != before;
                Some(earliest(first.timestamp(), second.timestamp(), turned))
                    .filter(|turn| at < *turn)
            }
            _ => None,
        }
    }

    /// The first instant at which the wall shows more than a time it never shows.
    fn gap_end(&self, wall: NaiveDateTime) -> DateTime<Utc> {
        let near = wall.and_utc().timestamp();
        earliest(near - FURTHEST, near + FURTHEST, |now| self.wall(now) > wall)
    }

    /// What the wall shows, in whole seconds.
    fn wall(&self, at: DateTime<Utc>) -> NaiveDateTime {
        let wall = at.with_timezone(&self.zone).naive_local();
        wall.with_nanosecond(0).unwrap_or(wall)
    }
}

/// The first second in `(not_yet, surely]` of which `is` is true.
fn earliest(
    mut not_yet: i64,
    mut surely: i64,
    is: impl Fn(DateTime<Utc>) -> bool,
) -> DateTime<Utc> {
    let instant = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    while surely - not_yet > 1 {
        let middle = i64::midpoint(not_yet, surely);
        if is(instant(middle)) {
            surely = middle;
        } else {
            not_yet = middle;
        }
    }
    instant(surely)
}

fn expand(text: &str) -> String {
    let known = match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => text,
    };
    known.to_owned()
}

#[cfg(test)]
#[path = "cron_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "cron_zones.rs"]
mod zones;
