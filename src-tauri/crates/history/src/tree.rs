//! The tree of a conversation's messages, without their text.
use crate::Role;
use std::collections::HashMap;
use uuid::Uuid;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub id: Uuid,
    pub parent: Option<Uuid>,
    pub role: Role,
}

/// The nodes in order of arrival (a parent always arrived before its children).
pub(crate) struct Tree {
    nodes: Vec<Node>,
    index: HashMap<Uuid, usize>,
    /// By the message they answer.
    answers: HashMap<Uuid, Vec<Uuid>>,
}

impl Tree {
    pub fn new(nodes: Vec<Node>) -> Self {
        let index = nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
        let mut answers: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        for node in nodes.iter().filter(|node| node.role == Role::Assistant) {
            answers.entry(node.parent.unwrap_or_default()).or_default().push(node.id);
        }
        Self { nodes, index, answers }
    }

    pub fn get(&self, id: Uuid) -> Option<&Node> {
        self.nodes.get(*self.index.get(&id)?)
    }

    /// All versions of an answer in order of arrival; a person's message is its only one.
    pub fn versions(&self, id: Uuid) -> Vec<Uuid> {
        match self.get(id) {
            Some(Node { role: Role::Assistant, parent: Some(question), .. }) => {
                self.answers.get(question).cloned().unwrap_or_default()
            }
            _ => vec![id],
        }
    }

    /// The end of the branch that goes on from `id`, taking the newest child at every fork.
    pub fn newest_leaf(&self, id: Uuid) -> Uuid {
        let newest_child: HashMap<Uuid, Uuid> =
            self.nodes.iter().filter_map(|node| Some((node.parent?, node.id))).collect();
        let mut leaf = id;
        for _ in &self.nodes {
            leaf = newest_child.get(&leaf).copied().unwrap_or(leaf);
        }
        leaf
    }
}
