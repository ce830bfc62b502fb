//! The mesh of an embedded node: there is no one else in it.

use std::future::pending;

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::wire::Message;

use crate::ports::{Brought, Mesh};

/// A mesh of one. Messages to others are lost, as the port allows; the core sends none, since it knows of no others.
#[derive(Debug, Default)]
pub struct Alone;

impl Mesh for Alone {
    fn send(&mut self, _: NodeId, _: Message) {}

    fn announce(&mut self, _: Message) {}

    async fn next(&mut self) -> (NodeId, Brought) {
        pending().await
    }
}
