//! Random sequences of operations against a plain model of what a history must be.
use crate::world::{World, complete, last};
use chimera_history::{Conversation, History, HistoryError, Role, Status, UserTurn};
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Clone, Debug)]
enum Op {
    Ask { conversation: usize, text: String },
    Checkpoint { text: String },
    Finish { text: String },
    Regenerate { pick: usize },
    Edit { pick: usize, text: String },
    Show { pick: usize },
    Delete { conversation: usize },
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let text = "[ -~अ-ह़ािीु्क-म\u{200d}😀]{0,12}";
    prop_oneof![
        4 => (0..3usize, text).prop_map(|(conversation, text)| Op::Ask { conversation, text }),
        3 => text.prop_map(|text| Op::Checkpoint { text }),
        4 => text.prop_map(|text| Op::Finish { text }),
        3 => any::<usize>().prop_map(|pick| Op::Regenerate { pick }),
        2 => (any::<usize>(), text).prop_map(|(pick, text)| Op::Edit { pick, text }),
        3 => any::<usize>().prop_map(|pick| Op::Show { pick }),
        1 => (0..3usize).prop_map(|conversation| Op::Delete { conversation }),
        1 => Just(Op::Reopen),
    ]
}

#[derive(Clone, Debug)]
struct Expected {
    conversation: Uuid,
    parent: Option<Uuid>,
    role: Role,
    text: String,
    status: Status,
}

/// What must be stored; messages keep their order of arrival by their counted-up ids.
#[derive(Default)]
struct Model {
    messages: BTreeMap<Uuid, Expected>,
    shown: BTreeMap<Uuid, Uuid>,
}

impl Model {
    fn add(&mut self, id: Uuid, conversation: Uuid, parent: Option<Uuid>, role: Role, text: &str) {
        let status = if role == Role::User { Status::Complete } else { Status::Streaming };
        self.messages.insert(id, Expected { conversation, parent, role, text: text.into(), status });
    }

    fn answers(&self) -> Vec<Uuid> {
        self.of_role(Role::Assistant)
    }

    fn of_role(&self, role: Role) -> Vec<Uuid> {
        self.messages.iter().filter(|(_, message)| message.role == role).map(|(id, _)| *id).collect()
    }

    fn streaming(&self) -> Option<Uuid> {
        self.messages.iter().rev().find(|(_, message)| message.status == Status::Streaming).map(|(id, _)| *id)
    }

    fn interrupt(&mut self, conversation: Option<Uuid>) {
        for message in self.messages.values_mut().filter(|message| message.status == Status::Streaming) {
            if conversation.is_none_or(|id| id == message.conversation) {
                message.status = Status::Interrupted;
            }
        }
    }

    fn leaf_after(&self, id: Uuid) -> Uuid {
        let child = self.messages.iter().rev().find(|(_, message)| message.parent == Some(id));
        child.map_or(id, |(child, _)| self.leaf_after(*child))
    }

    fn branch(&self, leaf: Uuid) -> Vec<Uuid> {
        let mut branch: Vec<Uuid> =
            std::iter::successors(Some(leaf), |id| self.messages[id].parent).collect();
        branch.reverse();
        branch
    }
}

struct Machine {
    world: World,
    history: History,
    model: Model,
    conversations: [Uuid; 3],
}

impl Machine {
    async fn apply(&mut self, op: Op) {
        self.world.advance(1);
        match op {
            Op::Ask { conversation, text } => self.ask(self.conversations[conversation], &text).await,
            Op::Checkpoint { text } => self.checkpoint(&text).await,
            Op::Finish { text } => self.finish(&text).await,
            Op::Regenerate { pick } => self.regenerate(pick).await,
            Op::Edit { pick, text } => self.edit(pick, text).await,
            Op::Show { pick } => self.show(pick).await,
            Op::Delete { conversation } => self.delete(self.conversations[conversation]).await,
            Op::Reopen => self.reopen().await,
        }
    }

    async fn ask(&mut self, conversation: Uuid, text: &str) {
        let asked = self.world.ask(&self.history, conversation, text).await.unwrap();
        let [.., user, answer] = asked.messages.as_slice() else { panic!("a turn is two messages") };
        self.model.interrupt(Some(conversation));
        let parent = self.model.shown.get(&conversation).copied();
        self.model.add(user.id, conversation, parent, Role::User, text);
        self.model.add(answer.id, conversation, Some(user.id), Role::Assistant, "");
        self.model.shown.insert(conversation, answer.id);
    }

    async fn checkpoint(&mut self, text: &str) {
        let Some(id) = self.model.streaming() else { return };
        self.history.checkpoint(id, text, "").await.unwrap();
        self.model.messages.get_mut(&id).unwrap().text = text.into();
    }

    async fn finish(&mut self, text: &str) {
        let Some(id) = self.model.streaming() else { return };
        let (stored, _) = self.history.finish(id, &complete(text)).await.unwrap();
        assert_eq!(stored.text, text);
        let message = self.model.messages.get_mut(&id).unwrap();
        (message.text, message.status) = (text.into(), Status::Complete);
    }

    async fn regenerate(&mut self, pick: usize) {
        let answers = self.model.answers();
        if answers.is_empty() {
            return;
        }
        let of = self.model.messages[&answers[pick % answers.len()]].clone();
        let picked = answers[pick % answers.len()];
        let shown = self.history.begin_version(of.conversation, picked, self.world.id()).await.unwrap();
        self.model.interrupt(Some(of.conversation));
        self.model.add(last(&shown), of.conversation, of.parent, Role::Assistant, "");
        self.model.shown.insert(of.conversation, last(&shown));
    }

    async fn edit(&mut self, pick: usize, text: String) {
        let questions = self.model.of_role(Role::User);
        if questions.is_empty() {
            return;
        }
        let picked = questions[pick % questions.len()];
        let Expected { conversation, parent, .. } = self.model.messages[&picked].clone();
        let turn = UserTurn { conversation, user: self.world.id(), text, assistant: self.world.id() };
        self.history.begin_edit(picked, &turn).await.unwrap();
        self.model.interrupt(Some(conversation));
        self.model.add(turn.user, conversation, parent, Role::User, &turn.text);
        self.model.add(turn.assistant, conversation, Some(turn.user), Role::Assistant, "");
        self.model.shown.insert(conversation, turn.assistant);
    }

    async fn show(&mut self, pick: usize) {
        let answers = self.model.answers();
        if answers.is_empty() {
            return;
        }
        let id = answers[pick % answers.len()];
        self.history.show_version(id).await.unwrap();
        self.model.shown.insert(self.model.messages[&id].conversation, self.model.leaf_after(id));
    }

    async fn delete(&mut self, conversation: Uuid) {
        let deleted = self.history.delete(conversation).await;
        match self.model.shown.remove(&conversation) {
            Some(_) => deleted.unwrap(),
            None => assert!(matches!(deleted, Err(HistoryError::NotFound { .. }))),
        }
        self.model.messages.retain(|_, message| message.conversation != conversation);
    }

    async fn reopen(&mut self) {
        self.history.close().await;
        self.history = self.world.open().await;
        self.model.interrupt(None);
    }

    async fn check(&self) {
        let listed = self.history.conversations().await.unwrap();
        assert_eq!(listed.len(), self.model.shown.len());
        for (conversation, leaf) in &self.model.shown {
            self.check_one(&self.history.conversation(*conversation).await.unwrap(), *leaf);
        }
    }

    fn check_one(&self, shown: &Conversation, leaf: Uuid) {
        let ids: Vec<Uuid> = shown.messages.iter().map(|message| message.id).collect();
        assert_eq!(ids, self.model.branch(leaf));
        for (at, message) in shown.messages.iter().enumerate() {
            let expected = &self.model.messages[&message.id];
            assert_eq!(message.text, expected.text);
            assert_eq!(message.status, expected.status);
            assert_eq!(message.role, if at % 2 == 0 { Role::User } else { Role::Assistant });
            assert!(message.versions.contains(&message.id));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_leaves_what_the_model_says(ops in prop::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let history = world.open().await;
            let conversations = [world.id(), world.id(), world.id()];
            let mut machine = Machine { world, history, model: Model::default(), conversations };
            for op in ops {
                machine.apply(op).await;
                machine.check().await;
            }
        });
    }
}
