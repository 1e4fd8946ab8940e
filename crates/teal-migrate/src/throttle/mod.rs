//! What the backfill waits for before it takes the next chunk.

pub(crate) mod limits;
pub(crate) mod pressure;

use std::time::{Duration, Instant};

use crate::requests::Orders;
use crate::throttle::limits::{Bytes, Limit, Limits, Parts};
use crate::throttle::pressure::{Crowd, Disk, Pressure};

/// A reason to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) kind: Kind,
    /// What is waited for, and how to have it otherwise.
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Paused,
    Hours,
    Disk,
    Parts,
    Latency,
}

/// All there is to wait for.
pub(crate) fn waits(orders: &Orders, pressure: &Pressure) -> Vec<Wait> {
    let limits = orders.limits.filled();
    paused(orders)
        .into_iter()
        .chain(hours(&limits, pressure))
        .chain(disk(&limits, pressure))
        .chain(parts(&limits, pressure))
        .chain(total(&limits, pressure))
        .chain(latency(&limits, pressure))
        .collect()
}

fn hours(limits: &Limits, pressure: &Pressure) -> Option<Wait> {
    let (hours, now) = (limits.hours.and_then(Limit::at)?, pressure.now?);
    let begin = hours.begin();
    let reason = format!("{begin} by the server's clock, where it is {now} (hours {hours})");
    (!hours.contain(now)).then_some(Wait { kind: Kind::Hours, reason })
}

fn disk(limits: &Limits, pressure: &Pressure) -> Option<Wait> {
    let disk = pressure.disk.as_ref()?;
    let margin = margin(limits.disk_free.unwrap_or_default(), disk)?;
    let reason = format!(
        "space on disk {}: {} are free, and {} are to stay free (disk free)",
        disk.name,
        readable(disk.free),
        readable(margin)
    );
    (disk.free < margin).then_some(Wait { kind: Kind::Disk, reason })
}

fn parts(limits: &Limits, pressure: &Pressure) -> impl Iterator<Item = Wait> {
    let limit = limits.max_parts.unwrap_or_default();
    pressure.crowds.iter().filter_map(move |crowd| {
        let most = most_parts(limit, crowd, pressure.merges_are_full)?;
        let reason = format!(
            "merges of {}: partition {} has {} parts, more than {most} (max parts)",
            crowd.table, crowd.partition, crowd.parts
        );
        (crowd.parts > most).then_some(Wait { kind: Kind::Parts, reason })
    })
}

fn total(limits: &Limits, pressure: &Pressure) -> Option<Wait> {
    let total = pressure.total.as_ref().filter(|_| limits.max_parts != Some(Limit::Off))?;
    let reason = format!(
        "merges of {}: it has {} parts in {} partitions, more than {}, which is half-way to those that make the server refuse INSERTs (its max_parts_in_total; max parts off)",
        total.table,
        total.parts,
        total.partitions,
        total.wait_at()
    );
    (total.parts > total.wait_at()).then_some(Wait { kind: Kind::Parts, reason })
}

fn latency(limits: &Limits, pressure: &Pressure) -> Option<Wait> {
    let (limit, latency) = (limits.query_latency.and_then(Limit::at)?, pressure.latency?);
    let reason = format!(
        "the users' statements: 95 of 100 take up to {} ms, more than {limit} (query latency)",
        latency.as_millis()
    );
    (latency > limit.0).then_some(Wait { kind: Kind::Latency, reason })
}

pub(crate) fn paused(orders: &Orders) -> Option<Wait> {
    let asked = orders.paused.as_ref()?;
    let at = asked.at.strftime("%Y-%m-%d %H:%M:%S");
    let reason = format!("`teal resume` ({} paused it at {at} UTC)", asked.by);
    Some(Wait { kind: Kind::Paused, reason })
}

/// By itself, a twentieth of the disk stays free, and no more than 5 GiB: merges need room.
fn margin(limit: Limit<Bytes>, disk: &Disk) -> Option<u64> {
    /// Object storage has no size, which some releases show as the largest number and some as 0.
    const NO_SIZE: u64 = u64::MAX / 2;
    const MOST: u64 = 5 << 30;
    if disk.total == 0 || disk.total > NO_SIZE {
        return None;
    }
    match limit {
        Limit::Off => None,
        Limit::At(bytes) => Some(bytes.0),
        Limit::Auto => Some((disk.total / 20).min(MOST)),
    }
}

/// By itself, half of what makes the server slow INSERTs down; and a quarter while no merge can
/// begin, since then parts only become more.
fn most_parts(limit: Limit<Parts>, crowd: &Crowd, merges_are_full: bool) -> Option<u64> {
    match limit {
        Limit::Off => None,
        Limit::At(Parts(parts)) => Some(parts),
        Limit::Auto if crowd.delay_at == 0 => None,
        Limit::Auto if merges_are_full => Some(crowd.delay_at / 4),
        Limit::Auto => Some(crowd.delay_at / 2),
    }
}

fn readable(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{bytes} bytes"),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// Keeps the copy to its bytes per second. A chunk is taken when the ones before have had their time:
/// a bucket that leaks.
#[derive(Debug)]
pub(crate) struct Pace {
    owed: f64,
    since: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { owed: 0.0, since: now }
    }

    /// Takes a chunk of so many bytes, or says how long to wait before asking again.
    pub(crate) fn take(
        &mut self,
        bytes: u64,
        limit: Option<Bytes>,
        now: Instant,
    ) -> Result<(), Duration> {
        let Some(limit) = limit else {
            *self = Self::new(now);
            return Ok(());
        };
        let per_second = limit.0 as f64;
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.owed = (self.owed - passed * per_second).max(0.0);
        self.since = now;
        if self.owed > 0.0 {
            return Err(Duration::from_secs_f64((self.owed / per_second).min(3600.0)));
        }
        self.owed += bytes as f64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use teal_schema::QualifiedName;

    use super::*;
    use crate::requests::{Ask, Request};
    use crate::throttle::limits::{Latency, Limits, Minute};
    use crate::throttle::pressure::Total;

    fn orders(limits: Limits) -> Orders {
        Orders { limits, ..Orders::default() }
    }

    fn kinds(orders: &Orders, pressure: &Pressure) -> Vec<Kind> {
        waits(orders, pressure).into_iter().map(|wait| wait.kind).collect()
    }

    fn crowd(parts: u64, delay_at: u64) -> Crowd {
        let table = QualifiedName::new("default", "events_1");
        Crowd { table, partition: "202401".to_owned(), parts, delay_at }
    }

    fn disk(free: u64, total: u64) -> Pressure {
        let disk = Disk { name: "default".to_owned(), free, total };
        Pressure { disk: Some(disk), ..Pressure::default() }
    }

    #[test]
    fn a_quiet_target_has_nothing_to_wait_for() {
        let pressure = Pressure {
            crowds: vec![crowd(100, 1000)],
            latency: Some(Duration::from_secs(9)),
            now: Some(Minute(0)),
            ..disk(100 << 30, 200 << 30)
        };
        assert_eq!(waits(&Orders::default(), &pressure), []);
    }

    #[test]
    fn by_itself_it_stays_well_below_the_parts_that_slow_inserts_down() {
        let with = |parts, merges_are_full| Pressure {
            crowds: vec![crowd(3, 1000), crowd(parts, 1000)],
            merges_are_full,
            ..Pressure::default()
        };
        let auto = Orders::default();
        assert_eq!(kinds(&auto, &with(500, false)), []);
        assert_eq!(kinds(&auto, &with(501, false)), [Kind::Parts]);
        assert_eq!(kinds(&auto, &with(250, true)), []);
        assert_eq!(kinds(&auto, &with(251, true)), [Kind::Parts]);
        let said = &waits(&auto, &with(501, false))[0].reason;
        assert!(said.contains("501 parts") && said.contains("202401"), "{said}");
        let own = orders(Limits { max_parts: Some(Limit::At(Parts(20))), ..Limits::default() });
        assert_eq!(kinds(&own, &with(21, false)), [Kind::Parts]);
        let off = orders(Limits { max_parts: Some(Limit::Off), ..Limits::default() });
        assert_eq!(kinds(&off, &with(9999, true)), []);
        let never = Pressure { crowds: vec![crowd(9999, 0)], ..Pressure::default() };
        assert_eq!(kinds(&auto, &never), []);
    }

    #[test]
    fn it_stays_well_below_the_parts_of_all_partitions_that_make_the_server_refuse_inserts() {
        let with = |parts| {
            let table = QualifiedName::new("default", "events_1");
            let total = Some(Total { table, partitions: 9, parts, refuse_at: 1000 });
            Pressure { total, ..Pressure::default() }
        };
        let auto = Orders::default();
        assert_eq!(kinds(&auto, &with(504)), []);
        assert_eq!(kinds(&auto, &with(505)), [Kind::Parts]);
        let said = &waits(&auto, &with(505))[0].reason;
        assert!(said.contains("505 parts in 9 partitions, more than 504"), "{said}");
        // A number of one's own is one of a partition.
        let own = orders(Limits { max_parts: Some(Limit::At(Parts(20))), ..Limits::default() });
        assert_eq!(kinds(&own, &with(505)), [Kind::Parts]);
        let off = orders(Limits { max_parts: Some(Limit::Off), ..Limits::default() });
        assert_eq!(kinds(&off, &with(9999)), []);
    }

    #[test]
    fn a_disk_keeps_its_margin() {
        let auto = Orders::default();
        assert_eq!(kinds(&auto, &disk(6 << 30, 1 << 40)), []);
        assert_eq!(kinds(&auto, &disk(4 << 30, 1 << 40)), [Kind::Disk]);
        // A small disk: a twentieth of it.
        assert_eq!(kinds(&auto, &disk(2 << 30, 20 << 30)), []);
        assert_eq!(kinds(&auto, &disk(1 << 29, 20 << 30)), [Kind::Disk]);
        // Object storage.
        assert_eq!(kinds(&auto, &disk(0, 0)), []);
        assert_eq!(kinds(&auto, &disk(u64::MAX, u64::MAX)), []);
        let own = Some(Limit::At(Bytes(50 << 30)));
        let own = orders(Limits { disk_free: own, ..Limits::default() });
        assert_eq!(kinds(&own, &disk(40 << 30, 1 << 40)), [Kind::Disk]);
        let said = &waits(&own, &disk(40 << 30, 1 << 40))[0].reason;
        assert!(said.contains("40.0 GiB are free") && said.contains("50.0 GiB"), "{said}");
    }

    #[test]
    fn outside_its_hours_it_waits_by_the_clock_of_the_server() {
        let hours = Some("22:00-06:00".parse().unwrap());
        let night = orders(Limits { hours, ..Limits::default() });
        let at = |now: &str| Pressure { now: now.parse().ok(), ..Pressure::default() };
        assert_eq!(kinds(&night, &at("23:30")), []);
        assert_eq!(kinds(&night, &at("06:00")), [Kind::Hours]);
        let said = &waits(&night, &at("14:05"))[0].reason;
        assert_eq!(said, "22:00 by the server's clock, where it is 14:05 (hours 22:00-06:00)");
    }

    #[test]
    fn slow_users_and_a_pause_are_waited_for() {
        let limit = Some(Limit::At(Latency(Duration::from_millis(200))));
        let mut orders = orders(Limits { query_latency: limit, ..Limits::default() });
        let at = |ms| Pressure { latency: Some(Duration::from_millis(ms)), ..Pressure::default() };
        assert_eq!(kinds(&orders, &at(200)), []);
        assert_eq!(kinds(&orders, &at(201)), [Kind::Latency]);
        assert_eq!(kinds(&orders, &Pressure::default()), []);
        let pause = Request::new("events_1", Ask::Pause);
        orders.paused = Orders::of("events_1", [&pause]).paused;
        assert_eq!(kinds(&orders, &at(1)), [Kind::Paused]);
    }

    #[test]
    fn so_many_bytes_a_second_and_no_more() {
        let begin = Instant::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let limit = Some(Bytes(100));
        let mut pace = Pace::new(begin);
        assert_eq!(pace.take(200, limit, begin), Ok(()));
        // The next when those have had their two seconds.
        assert_eq!(pace.take(200, limit, after(500)), Err(Duration::from_millis(1500)));
        assert_eq!(pace.take(200, limit, after(2000)), Ok(()));
        // Faster now: what is owed goes sooner.
        let faster = Some(Bytes(1000));
        assert_eq!(pace.take(200, faster, after(2100)), Err(Duration::from_millis(100)));
        assert_eq!(pace.take(200, None, after(2101)), Ok(()));
        // Time in which nothing was copied is not saved up.
        assert_eq!(pace.take(200, limit, after(90_000)), Ok(()));
        assert!(pace.take(200, limit, after(90_001)).is_err());
    }
}
