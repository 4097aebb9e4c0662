//! A process that dies without a word: SIGKILL while it writes.
use crate::world::{START, World, last};
use chimera_history::{History, OpenOptions, Status};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use uuid::Uuid;

const CHILD_DIR: &str = "CHIMERA_TEST_CHILD_DIR";

/// The child's part: does nothing unless this very test binary started it with a directory.
#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let history = History::open(OpenOptions::new(dir), Arc::new(|| START)).await.unwrap().history;
    let turn = chimera_history::UserTurn {
        conversation: Uuid::from_u128(1001),
        user: Uuid::from_u128(1002),
        text: "क्या तुम बचोगे?".into(),
        assistant: Uuid::from_u128(1003),
    };
    history.begin_turn(&turn).await.unwrap();
    let mut text = String::new();
    for n in 0.. {
        text.push_str("शब्द ");
        history.checkpoint(turn.assistant, &text, "thought").await.unwrap();
        println!("\nchild wrote {n}");
    }
}

fn spawn_child(world: &World) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_writes_until_it_is_killed", "--nocapture"])
        .env(CHILD_DIR, world.dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child in the middle of its writing, after at least `writes` acknowledged checkpoints.
fn kill_after(mut child: Child, writes: usize) -> usize {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let seen = lines.by_ref().filter(|line| line.starts_with("child wrote")).take(writes).count();
    child.kill().unwrap(); // SIGKILL on Unix
    child.wait().unwrap();
    seen + lines.filter(|line| line.starts_with("child wrote")).count()
}

#[tokio::test]
async fn a_partial_answer_survives_kill_9() {
    for writes in [1, 5, 40] {
        let world = World::new();
        let acknowledged = kill_after(spawn_child(&world), writes);
        assert!(acknowledged >= writes);

        let history = world.open().await;
        let conversation = history.conversation(Uuid::from_u128(1001)).await.unwrap();
        let answer = &conversation.messages[1];
        assert_eq!(conversation.messages[0].text, "क्या तुम बचोगे?");
        assert_eq!(answer.status, Status::Interrupted);
        assert_eq!(answer.thinking, "thought");
        let kept = answer.text.matches("शब्द ").count();
        assert!(kept >= acknowledged, "{kept} of {acknowledged}");
        world.ask(&history, Uuid::from_u128(1001), "go on").await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_write_leaves_nothing_behind() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    world.turn(&history, id, "q", "a").await;
    for polls in 0..40 {
        let begun = world.ask(&history, id, "cut off");
        poll_times(begun, polls).await;
    }
    let asked = world.ask(&history, id, "whole").await.unwrap();
    assert_eq!(asked.messages.last().unwrap().id, last(&asked));
    assert_eq!(asked.messages.len() % 2, 0, "a turn is both messages or none");
}

/// Drops the future after so many steps: the turn's caller went away.
async fn poll_times(future: impl Future, polls: usize) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        let step =
            std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
        if step {
            return;
        }
        tokio::task::yield_now().await;
    }
}
