//! What presses on the target: the users' statements, parts, merges, disks; and its time of the day.

use std::time::Duration;

use serde::Deserialize;
use teal_catalog::exists;
use teal_client::{ClientError, Server, Session, TEAL_LOG_COMMENT};
use teal_schema::{QualifiedName, quote_string};

use crate::throttle::limits::{Limit, Limits, Minute};

/// The users' statements that ended within it count. `query_log` is some seconds late.
const LATELY: Duration = Duration::from_secs(15);

/// As far as the limits ask for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// By the server's clock.
    pub(crate) now: Option<Minute>,
    /// Of green's storage policy, that with the most space.
    pub(crate) disk: Option<Disk>,
    /// The fullest partition of blue, and that of green.
    pub(crate) crowds: Vec<Crowd>,
    /// Of green, to which the copy brings parts.
    pub(crate) total: Option<Total>,
    /// Every thread that merges is at work.
    pub(crate) merges_are_full: bool,
    /// 95 of 100 of the users' statements end within it.
    pub(crate) latency: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Disk {
    pub(crate) name: String,
    pub(crate) free: u64,
    pub(crate) total: u64,
}

/// How many parts of a table the server bears.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// From so many parts of one partition on, it slows INSERTs down or refuses them; 0 where it does neither.
    delay_at: u64,
    /// From so many parts of all partitions on, it refuses INSERTs.
    refuse_at: u64,
}

impl Bounds {
    pub(crate) fn read(
        session: &mut dyn Session,
        table: &QualifiedName,
    ) -> Result<Self, ClientError> {
        #[derive(Deserialize)]
        struct Row {
            delay_at: u64,
            throw_at: u64,
            refuse_at: u64,
        }
        // A table's own setting stands in its declaration only.
        let setting = |name: &str| {
            format!(
                "ifNull(toUInt64OrNull(extract(any(engine_full), '\\\\b{name} = (\\\\d+)')), (\
                     SELECT toUInt64(value) FROM system.merge_tree_settings \
                     WHERE name = '{name}'))"
            )
        };
        let Row { delay_at, throw_at, refuse_at } = session.row(&format!(
            "SELECT {} AS delay_at, {} AS throw_at, {} AS refuse_at FROM system.tables WHERE {}",
            setting("parts_to_delay_insert"),
            setting("parts_to_throw_insert"),
            setting("max_parts_in_total"),
            table.condition("name")
        ))?;
        let delay_at = [delay_at, throw_at].into_iter().filter(|at| *at > 0).min().unwrap_or(0);
        Ok(Self { delay_at, refuse_at })
    }
}

/// A table's fullest partition with its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crowd {
    pub(crate) table: QualifiedName,
    pub(crate) partition: String,
    pub(crate) parts: u64,
    /// As in [`Bounds`].
    pub(crate) delay_at: u64,
}

impl Crowd {
    /// None of a table without parts. Those of an `other` one, which it will have, count with its own.
    pub(crate) fn read(
        session: &mut dyn Session,
        table: &QualifiedName,
        other: Option<&QualifiedName>,
        bounds: Bounds,
    ) -> Result<Option<Self>, ClientError> {
        #[derive(Deserialize)]
        struct Row {
            partition_id: String,
            parts: u64,
        }
        let fullest = session.rows::<Row>(&format!(
            "SELECT partition_id, count() AS parts FROM system.parts WHERE active AND {} \
             GROUP BY partition_id ORDER BY parts DESC, partition_id LIMIT 1",
            of_both(table, other)
        ))?;
        Ok(fullest.into_iter().next().map(|Row { partition_id: partition, parts }| Self {
            table: table.clone(),
            partition,
            parts,
            delay_at: bounds.delay_at,
        }))
    }

    /// More than half of the parts that slow INSERTs down.
    pub(crate) fn is_dense(&self) -> bool {
        self.delay_at > 0 && self.parts > self.delay_at / 2
    }
}

/// A table with the parts of all its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) table: QualifiedName,
    pub(crate) partitions: u64,
    pub(crate) parts: u64,
    /// From so many parts on, the server refuses INSERTs.
    pub(crate) refuse_at: u64,
}

impl Total {
    /// As of a [`Crowd`].
    pub(crate) fn read(
        session: &mut dyn Session,
        table: &QualifiedName,
        other: Option<&QualifiedName>,
        bounds: Bounds,
    ) -> Result<Option<Self>, ClientError> {
        #[derive(Deserialize)]
        struct Row {
            partitions: u64,
            parts: u64,
        }
        let Row { partitions, parts } = session.row(&format!(
            "SELECT uniqExact(partition_id) AS partitions, count() AS parts FROM system.parts \
             WHERE active AND {}",
            of_both(table, other)
        ))?;
        let total = Self { table: table.clone(), partitions, parts, refuse_at: bounds.refuse_at };
        Ok((parts > 0).then_some(total))
    }

    /// Half-way from what merges can bring it to at most, one part for each partition.
    pub(crate) fn wait_at(&self) -> u64 {
        self.partitions + self.refuse_at.saturating_sub(self.partitions) / 2
    }
}

/// The condition on `system.parts` that a part is of the table, or of the other one.
fn of_both(table: &QualifiedName, other: Option<&QualifiedName>) -> String {
    let tables = [table].into_iter().chain(other).collect::<Vec<_>>();
    QualifiedName::condition_of_any(&tables, "table")
}

/// Measures. Each look costs some milliseconds of the server.
pub(crate) struct Gauge<'a> {
    pub(crate) server: &'a dyn Server,
    pub(crate) session: Box<dyn Session>,
    pub(crate) blue: QualifiedName,
    pub(crate) green: QualifiedName,
    /// Whose parts green gets in the end.
    pub(crate) history: Option<QualifiedName>,
}

impl Gauge<'_> {
    pub(crate) fn read(&mut self, limits: &Limits) -> Result<Pressure, ClientError> {
        let limits = limits.filled();
        let mut pressure = Pressure::default();
        if limits.hours.and_then(Limit::at).is_some() {
            pressure.now = Some(self.now()?);
        }
        if limits.disk_free != Some(Limit::Off) {
            pressure.disk = self.disk()?;
        }
        if limits.max_parts != Some(Limit::Off) {
            let session = self.session.as_mut();
            let of_blue = Bounds::read(session, &self.blue)?;
            let of_green = Bounds::read(session, &self.green)?;
            pressure.crowds.extend(Crowd::read(session, &self.blue, None, of_blue)?);
            let (green, history) = (&self.green, self.history.as_ref());
            pressure.crowds.extend(Crowd::read(session, green, history, of_green)?);
            pressure.total = Total::read(session, green, history, of_green)?;
            pressure.merges_are_full = merges_are_full(self.session.as_mut())?;
        }
        if limits.query_latency.and_then(Limit::at).is_some() {
            pressure.latency = self.latency()?;
        }
        Ok(pressure)
    }

    fn now(&mut self) -> Result<Minute, ClientError> {
        #[derive(Deserialize)]
        struct Row {
            minute: u16,
        }
        let now = "now(serverTimezone())";
        let Row { minute } = self
            .session
            .row(&format!("SELECT toUInt16(toHour({now}) * 60 + toMinute({now})) AS minute"))?;
        Ok(Minute(minute))
    }

    fn disk(&mut self) -> Result<Option<Disk>, ClientError> {
        let rows = self.session.rows::<Disk>(&format!(
            "SELECT name, unreserved_space AS free, total_space AS total FROM system.disks \
             WHERE name IN (\
                 SELECT arrayJoin(disks) FROM system.storage_policies WHERE policy_name = (\
                     SELECT storage_policy FROM system.tables WHERE {})) \
             ORDER BY free DESC, name LIMIT 1",
            self.green.condition("name")
        ))?;
        Ok(rows.into_iter().next())
    }

    fn latency(&mut self) -> Result<Option<Duration>, ClientError> {
        match self.server.users_pace(LATELY) {
            Some(times) => Ok(ninety_five_of_100(times)),
            None => self.latency_by_log(),
        }
    }

    /// Of the statements in `query_log`, and of those that run, by their time until now. Without the
    /// log, of the latter alone.
    fn latency_by_log(&mut self) -> Result<Option<Duration>, ClientError> {
        #[derive(Deserialize)]
        struct Row {
            milliseconds: u64,
        }
        let kinds = "query_kind IN ('Select', 'Insert')";
        let own = quote_string(TEAL_LOG_COMMENT);
        let mut query = format!(
            "SELECT toUInt64(elapsed * 1000) AS milliseconds FROM system.processes \
             WHERE {kinds} AND is_initial_query AND NOT startsWith(Settings['log_comment'], {own})"
        );
        if exists(self.session.as_mut(), &QualifiedName::new("system", "query_log"))? {
            let seconds = LATELY.as_secs();
            query.push_str(&format!(
                " UNION ALL SELECT query_duration_ms AS milliseconds FROM system.query_log \
                 WHERE event_date >= toDate(now() - {seconds}) - 1 AND event_time > now() - {seconds} \
                     AND type = 'QueryFinish' AND {kinds} AND is_initial_query \
                     AND NOT startsWith(log_comment, {own})"
            ));
        }
        // One number, however busy the users are.
        let rows = self.session.rows::<Row>(&format!(
            "SELECT quantileExact(0.95)(milliseconds) AS milliseconds FROM ({query}) HAVING count() > 0"
        ))?;
        Ok(rows.into_iter().next().map(|row| Duration::from_millis(row.milliseconds)))
    }
}

/// Whether every thread that merges or mutates is at work.
pub(crate) fn merges_are_full(session: &mut dyn Session) -> Result<bool, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        running: i64,
        most: i64,
    }
    // The embedded engine shows no size until it has merged something.
    let Row { running, most } = session.row(
        "SELECT sumIf(value, metric = 'BackgroundMergesAndMutationsPoolTask') AS running, \
             sumIf(value, metric = 'BackgroundMergesAndMutationsPoolSize') AS most \
         FROM system.metrics",
    )?;
    Ok(most > 0 && running >= most)
}

fn ninety_five_of_100(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    let at = (times.len() * 95).div_ceil(100);
    times.get(at.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_statement_of_a_hundred_is_not_the_users_latency() {
        let millis = Duration::from_millis;
        let mut times = vec![millis(10); 99];
        times.push(millis(5000));
        assert_eq!(ninety_five_of_100(times.clone()), Some(millis(10)));
        times.extend([millis(5000); 9]);
        assert_eq!(ninety_five_of_100(times), Some(millis(5000)));
        assert_eq!(ninety_five_of_100(vec![millis(3)]), Some(millis(3)));
        assert_eq!(ninety_five_of_100(Vec::new()), None);
    }
}
