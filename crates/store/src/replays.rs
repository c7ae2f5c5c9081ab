//! Replays under way: what is being sent again, how far that has come, and until when somebody sees to it.
//!
//! Guarantees that a replay is there until it is ended, whoever ran it, and that of several processes one holds it at a
//! time, for as long as it says. Refuses to know what is sent.

use nuncio_domain::{AppId, EndpointId, UnixMillis};
use redis::Value;
use serde::{Deserialize, Serialize};

use crate::page::Position;
use crate::script;
use crate::{Store, StoreError};

/// Which messages are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replay {
    /// Those whose delivery to the endpoint failed for good.
    Failed,
    /// Those that the endpoint was never sent but wants as it is now.
    Missing,
}

/// A replay that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayTask {
    /// Its name.
    pub name: String,
    /// Whose messages.
    pub app: AppId,
    /// Where to.
    pub endpoint: EndpointId,
    /// Which of them.
    pub which: Replay,
    /// The first moment of their span of time.
    pub since: UnixMillis,
    /// The last one.
    pub until: UnixMillis,
    /// When it was asked for: every message is sent in the run of attempts of that time, however often it is begun.
    pub asked_at: UnixMillis,
    /// The last place of the list of messages that was done.
    pub done: Option<Position>,
    /// Messages that were sent.
    pub sent: usize,
}

/// A replay that is held by this process, or by nobody.
#[derive(Debug, Clone)]
pub struct NotedReplay {
    /// What it is.
    pub task: ReplayTask,
    /// Until when somebody sees to it.
    pub held_until: UnixMillis,
    text: String,
}

/// How a task lies in Redis.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    app: &'a str,
    endpoint: &'a str,
    which: Replay,
    since: i64,
    until: i64,
    asked_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<&'a str>,
    sent: usize,
    held_until: i64,
}

impl NotedReplay {
    fn parse(name: String, text: String) -> Option<Self> {
        let line: Line<'_> = serde_json::from_str(&text).ok()?;
        let task = ReplayTask {
            name,
            app: AppId::parse(line.app).ok()?,
            endpoint: EndpointId::parse(line.endpoint).ok()?,
            which: line.which,
            since: UnixMillis(line.since),
            until: UnixMillis(line.until),
            asked_at: UnixMillis(line.asked_at),
            done: line.done.map(|place| Position(place.to_owned())),
            sent: line.sent,
        };
        let held_until = UnixMillis(line.held_until);
        Some(Self {
            task,
            held_until,
            text,
        })
    }
}

fn text(task: &ReplayTask, held_until: UnixMillis) -> String {
    let line = Line {
        app: task.app.as_str(),
        endpoint: task.endpoint.as_str(),
        which: task.which,
        since: task.since.0,
        until: task.until.0,
        asked_at: task.asked_at.0,
        done: task.done.as_ref().map(|place| place.0.as_str()),
        sent: task.sent,
        held_until: held_until.0,
    };
    serde_json::to_string(&line).expect("texts and numbers are JSON")
}

impl Store {
    /// Notes a replay, held until then; nothing when it was noted before.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn note_replay(
        &self,
        task: ReplayTask,
        held_until: UnixMillis,
    ) -> Result<Option<NotedReplay>, StoreError> {
        let text = text(&task, held_until);
        let noted = self.change_replay(&task.name, "", &text).await?;
        Ok(noted.then_some(NotedReplay {
            task,
            held_until,
            text,
        }))
    }

    /// The replays that were noted and not ended.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn noted_replays(&self) -> Result<Vec<NotedReplay>, StoreError> {
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(self.keys().replays());
        let noted: Vec<(String, String)> = self.one("read the replays under way", cmd).await?;
        let parsed = noted
            .into_iter()
            .filter_map(|(name, text)| NotedReplay::parse(name, text));
        Ok(parsed.collect())
    }

    /// Holds a replay until then, and notes how far it has come; false when another process has it.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn hold_replay(
        &self,
        replay: &mut NotedReplay,
        held_until: UnixMillis,
    ) -> Result<bool, StoreError> {
        let text = text(&replay.task, held_until);
        let holds = self.change_replay(&replay.task.name, &replay.text, &text).await?;
        if holds {
            (replay.text, replay.held_until) = (text, held_until);
        }
        Ok(holds)
    }

    /// Forgets a replay.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn end_replay(&self, replay: &NotedReplay) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("HDEL");
        cmd.arg(self.keys().replays()).arg(&replay.task.name);
        self.one::<Value>("end a replay", cmd).await?;
        Ok(())
    }

    async fn change_replay(&self, name: &str, held: &str, text: &str) -> Result<bool, StoreError> {
        let mut cmd = script::call(&script::CHANGE_FIELD, &[&self.keys().replays()]);
        cmd.arg(name).arg(held).arg(text);
        self.one("hold a replay", cmd).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_read_as_it_was_noted() {
        let mut task = ReplayTask {
            name: "qtask_1".to_owned(),
            app: AppId::parse("app_1").unwrap(),
            endpoint: EndpointId::parse("ep_1").unwrap(),
            which: Replay::Missing,
            since: UnixMillis(1),
            until: UnixMillis(2),
            asked_at: UnixMillis(3),
            done: None,
            sent: 0,
        };
        for done in [None, Some(Position("7-0".to_owned()))] {
            task.done = done;
            let written = text(&task, UnixMillis(9));
            let read = NotedReplay::parse(task.name.clone(), written).unwrap();
            assert_eq!((&read.task, read.held_until), (&task, UnixMillis(9)));
        }
        assert!(NotedReplay::parse("qtask_1".to_owned(), "{}".to_owned()).is_none());
    }
}
