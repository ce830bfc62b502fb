//! Every bound of the system, by name. A queue, message, retry or depth without a bound here is a bug.

use std::ops::Range;

/// Version of the wire and of every signed structure.
pub const PROTOCOL_VERSION: u64 = 1;

/// Bytes of memory that decoding may take for each byte that came from outside ...
pub const DECODED_FACTOR: usize = 4;
/// The same for a result that somebody has chosen to read: a number in a list takes more than its digits.
pub const RESULT_FACTOR: usize = 32;
/// ... and besides.
pub const DECODED_BYTES: usize = 1 << 20;
/// Items of a list for which there is room before any of them is decoded.
pub const DECODED_AHEAD: usize = 256;
/// Bytes of the reason why something cannot be decoded.
pub const DECODED_REASON_BYTES: usize = 256;
/// Nesting depth of canonical CBOR.
pub const CANON_DEPTH: usize = 24;
/// Nesting depth of a JSON envelope.
pub const JSON_DEPTH: usize = 24;
/// Bytes of a JSON envelope, args included.
pub const ENVELOPE_BYTES: usize = 1 << 20;
/// Problems reported for one envelope; the rest are counted.
pub const PROBLEMS: usize = 20;

/// Bytes of a client's own identifier in `ctx`.
pub const CLIENT_ID_BYTES: usize = 128;
/// Bytes of a seed string.
pub const SEED_BYTES: usize = 256;
/// Bytes of a `kv_namespace`.
pub const NAMESPACE_BYTES: usize = 64;
/// Bytes of an encoded genesis.
pub const GENESIS_BYTES: usize = 1 << 16;
/// Bytes of a ticket, as text.
pub const TICKET_BYTES: usize = 1 << 19;
/// Addresses in a ticket, and bytes of each.
pub const BOOTSTRAP: usize = 8;
pub const ADDRESS_BYTES: usize = 256;
/// How long an invitation may be good for: 30 days.
pub const INVITATION_TTL_MS: u64 = 30 * 24 * 3600 * 1000;
/// Invitations that are remembered until they expire, used and withdrawn ones too.
pub const INVITATIONS: usize = 1_000;
/// How long a node's request to be admitted may wait to be committed.
pub const JOIN_TTL_MS: u64 = 3600 * 1000;
/// Bytes of a node's name.
pub const NODE_NAME_BYTES: usize = 64;
/// Bytes of the reason with which a request of another node is refused.
pub const REASON_BYTES: usize = 512;
/// Operations that an agent may say it is confined to.
pub const HELLO_OPS: usize = 64;
/// Bytes of an operation's family, and of its profile.
pub const OP_NAME_BYTES: usize = 64;
/// Bytes of the name of what executes shards.
pub const BACKEND_BYTES: usize = 64;
/// Clients to whose jobs a private agent may say it is confined, itself among them.
pub const HELLO_CLIENTS: usize = 64;
/// Organizations to whose jobs a private agent may say it is confined, beside those of its clients.
pub const HELLO_ORGANIZATIONS: usize = 16;
/// Billing modes to which an agent may say it is confined: as many as there are.
pub const HELLO_BILLING: usize = 2;
/// Bytes of an organization's name.
pub const ORGANIZATION_BYTES: usize = 64;
/// Bytes of a region's name.
pub const REGION_BYTES: usize = 32;
/// Regions that one job may ask for.
pub const OFFER_REGIONS: usize = 16;
/// Bytes of one line of a request on a node's control socket.
pub const CONTROL_BYTES: usize = 4 << 20;
/// Bytes of one that a node carries to the hub for a client.
pub const ASK_BYTES: usize = 1 << 20;
/// Bytes of one line of an answer there.
pub const CONTROL_LINE_BYTES: usize = 16 << 20;
/// Bytes that are attached at once.
pub const CONTROL_PART_BYTES: usize = 4 << 20;
/// Bytes of an answer with all that is attached to it.
pub const CONTROL_ANSWER_BYTES: usize = 512 << 20;
/// Questions to the hub that a node carries for its clients at once, and that a hub member answers at once.
pub const ASKS: usize = 64;
/// Of these, so many of one node.
pub const ASKS_OF_NODE: usize = 4;
/// Clients of a hub member that are about to read and wait until it knows all that is agreed on.
pub const READS: usize = 256;
/// How long they wait at most.
pub const READ_MS: u64 = 5_000;
/// How long a node waits for the hub's answer to one.
pub const ASK_MS: u64 = 30_000;
/// Nodes for which the books are being read at once; another one asks again, and so does the same.
pub const BOOKS_READ: usize = 64;
/// Final jobs that are looked up at once for one member that asks for signatures; it asks again for others.
pub const SIGNATURES_READ: usize = 16;
/// Clients of a control socket at once.
pub const CONTROL_CLIENTS: usize = 64;
/// Bytes of a mesh's name.
pub const MESH_NAME_BYTES: usize = 64;
/// Agents a policy may ask for.
pub const POLICY_AGENTS: u64 = 10_000;
/// Longest time a job may be given: 30 days.
pub const TIMEOUT_MS: u64 = 30 * 24 * 3600 * 1000;

/// Paths of one job.
pub const JOB_PATHS: u64 = 1_000_000_000_000;
/// Shards of one stage; the planner makes shards larger rather than exceed it.
pub const STAGE_SHARDS: u64 = 1 << 20;
/// Leaves of one shard.
pub const SHARD_LEAVES: u64 = 1 << 16;
/// Stages of one job. A job that may stop early has one for each checkpoint: with 10¹² paths in the shortest leaves there
/// are (16 paths) that is 102, and a repair may come on top.
pub const JOB_STAGES: u64 = 128;
/// Looks over which a job may ask its variance to be steady.
pub const VARIANCE_LOOKS: u64 = 32;
/// Shards of one attestation.
pub const BATCH_SHARDS: usize = 256;
/// How long an agent collects finished shards at least before it attests them.
pub const BATCH_DELAY_MS: u64 = 5;
/// And at most.
pub const BATCH_DELAY_MOST_MS: u64 = 1_000;
/// A batch has one shard for this many that the agent has attested of the stage: small batches first, so that a
/// short job is quick, large ones later, so that a long job has few.
pub const BATCH_GROWTH: u64 = 16;
/// Mismatches one verdict names: one is enough to convict, and a verdict must fit a log entry.
pub const VERDICT_MISMATCHES: usize = 64;
/// Checks of one batch that may fail to check anything before its job is given up.
pub const CHECK_ATTEMPTS: u64 = 3;
/// How often an agent says hello while it holds work, in milliseconds.
pub const HELLO_BUSY_MS: u64 = 1_000;
/// And while it holds none.
pub const HELLO_IDLE_MS: u64 = 3_000;
/// An agent that was not heard for so long is taken for gone: what it holds is lent to others.
pub const SILENCE_MS: u64 = 10_000;
/// And one to which every connection has ended is, if it is not back after so long.
pub const PARTED_MS: u64 = 1_000;
/// An agent that was not heard for so long is forgotten.
pub const FORGET_MS: u64 = 3_600_000;
/// A lease that an agent's hello does not name is taken for lost once it is so old.
pub const LEASE_GRACE_MS: u64 = 2_000;
/// Who waits for an answer asks again after so long.
pub const RETRY_MS: u64 = 1_000;
/// And who waits for something large twice as long after each question, up to this.
pub const RETRY_MOST_MS: u64 = 8_000;
/// A hub member that keeps its beacon link back for so long, in log time, is passed over.
pub const PASS_MS: u64 = 1_000;
/// An agent that has neither opened its leaves nor said that it is at it for so long is given up by the checker.
pub const OPEN_MS: u64 = 30_000;
/// And one that has not opened them for so long, whatever it says.
pub const OPEN_MOST_MS: u64 = 600_000;
/// After a restart in the middle of a job the hub waits so long for agents to say what they hold.
pub const SETTLE_MS: u64 = 2_000;
/// Work that is lent to an agent in advance, by its estimate.
pub const BACKLOG_MS: u64 = 2_500;
/// What an agent would need longer than this for is taken from it, once another has nothing to do.
pub const STEAL_MS: u64 = 200;
/// After so long without an attestation from its holder a shard is lent to an idle agent too.
pub const STRAGGLE_MS: u64 = 5_000;
/// Shards that an agent holds for each of its threads.
pub const SHARDS_PER_THREAD: u64 = 256;
/// Links of its chain that an agent may have waiting for the hub; then it takes no more work.
pub const OUTBOX_LINKS: usize = 64;
/// Unlogged attestations that the hub keeps of one agent while it fetches their blobs.
pub const PENDING_BATCHES: usize = 64;
/// Bytes of claims and accumulators that an agent sends to every hub member along with their attestation; more than that is
/// fetched by each. With the attestation it is a small message.
pub const DELIVERY_BYTES: usize = 40 << 10;
/// Such deliveries that a hub member keeps until their attestations are logged, of one agent and of all; further ones are
/// fetched.
pub const DELIVERIES_PER_AGENT: usize = 8;
pub const DELIVERIES: usize = 512;
/// Bytes of artifacts that a hub member makes of a stage that is still being verified; more are made after that.
pub const EARLY_ARTIFACT_BYTES: usize = 256 << 10;
/// Attempts at one reduction that fail without saying which evidence is at fault.
pub const REDUCE_ATTEMPTS: u32 = 3;
/// Agents that a hub knows at once.
pub const AGENTS: usize = 10_000;
/// Ranges of shards in one hello; an agent that holds more says so in several leases' time.
pub const HOLDINGS: usize = 4_096;
/// Bytes of one message.
pub const MESSAGE_BYTES: usize = ACCUMULATOR_BYTES + (1 << 20);
/// How long a hub member rests between two looks for evidence that it lacks; and after one that has found something, while
/// jobs are open.
pub const EVIDENCE_MS: u64 = 1_000;
pub const EVIDENCE_BUSY_MS: u64 = 100;
/// After how long it looks through all of its books anew, if it has got all that it lacked.
pub const EVIDENCE_AGAIN_MS: u64 = 3_600_000;
/// And if not, at first; twice as long each time.
pub const EVIDENCE_SOON_MS: u64 = 60_000;
/// How often a slice of the blobs is read to see whether they have rotted.
pub const SCRUB_MS: u64 = 60_000;
/// Bytes of such a slice.
pub const SCRUB_BYTES: usize = 64 << 20;
/// How often a checker at work is asked again.
pub const CHECK_RETRY_MS: u64 = 10_000;
/// The agents hear of new entries in the books at most this often, their hellos aside.
pub const ANNOUNCE_MS: u64 = 100;
/// Batches that are checked at the same time.
pub const CHECKS: usize = 256;
/// How often batches of one job may be set aside before it is given up.
pub const SET_ASIDE: usize = 1_024;
/// Batches of one job that an agent may leave unopened, or have lost, and still be preferred to nobody else.
pub const UNRELIABLE: usize = 3;
/// Leases one attestation may name.
pub const BATCH_LEASES: usize = 64;
/// Shards of one lease.
pub const LEASE_SHARDS: u64 = 256;
/// How long a lease is good for, in log time.
pub const LEASE_MS: u64 = 60_000;
/// Attempts at one shard before its job fails.
pub const SHARD_ATTEMPTS: u32 = 5;
/// And at most, although an agent that takes no work at the moment has not tried it.
pub const SHARD_ATTEMPTS_MOST: u32 = 20;

/// Bytes of one log entry.
pub const COMMAND_BYTES: usize = 4 << 20;
/// Bytes of a snapshot of the hub's state.
pub const SNAPSHOT_BYTES: usize = 256 << 20;
/// Bytes of an encoded shard accumulator.
pub const ACCUMULATOR_BYTES: usize = 256 << 20;
/// Bytes of a members blob: the claims of one batch.
pub const MEMBERS_BYTES: usize = 1 << 20;
/// Bytes of a stage input.
pub const STAGE_INPUT_BYTES: usize = 1 << 20;
/// Bytes of a receipt file.
pub const RECEIPT_BYTES: usize = 16 << 20;
/// Bytes of a bundle of evidence.
pub const BUNDLE_BYTES: usize = 1 << 30;
/// Bytes of a rendered artifact.
pub const ARTIFACT_BYTES: usize = 256 << 20;

/// Bytes of a piece, in which artifacts are kept and travel: a power of two and at least 1,024, so that it is a subtree of
/// the artifact's hash.
pub const PIECE_BYTES: usize = 1 << 20;
/// Bytes of an artifact that somebody puts into the mesh.
pub const STREAMED_BYTES: u64 = 16 << 30;
/// Bytes of the sums of its pieces.
pub const SUMS_BYTES: usize = 32 * (STREAMED_BYTES / PIECE_BYTES as u64) as usize;
/// How long one may ask for it to be kept: ten years of 366 days.
pub const PIN_MS: u64 = 3_660 * 24 * 3600 * 1000;
/// Artifacts that a node fetches, or takes from its clients, at once.
pub const FETCHES: usize = 32;
/// Of these, so many because the mesh has it keep them.
pub const KEEPS: usize = 8;
/// Pieces of one artifact that are asked for or checked at once.
pub const FETCH_PIECES: usize = 16;
/// And that wait for the disk: a sync takes as long for many as for one.
pub const FETCH_STORING: usize = 64;
/// Clients that wait for parts of one artifact.
pub const FETCH_WANTS: usize = 64;
/// Nodes that are remembered as sources of one artifact.
pub const FETCH_SOURCES: usize = 16;
/// Nobody has said for so long how long an artifact is: it is given up.
pub const SEEK_MS: u64 = 20_000;
/// And one of which nobody has sent a piece for so long: longer than it takes to be sure that a node is gone.
pub const FETCH_MS: u64 = 60_000;
/// Questions for pieces that a node answers at once, and how many of these may be one node's.
pub const SERVES: usize = 64;
pub const SERVES_OF_NODE: usize = 2 * FETCH_PIECES;
/// How often the leader asks who keeps which artifacts.
pub const STEWARD_MS: u64 = 5_000;
/// A node that was not heard for so long, or does not say what it keeps, keeps nothing any more in the leader's eyes: others
/// are told to.
pub const HOLDER_LOST_MS: u64 = 30_000;
/// Artifacts that a node names in one answer to that.
pub const HOLDINGS_PAGE: usize = 512;
/// Artifacts whose holders the leader remembers.
pub const HOLDERS_KNOWN: usize = 65_536;
/// Artifacts of which a node says in Kademlia that it has them, and of which it believes another one so.
pub const PROVIDED: usize = 1_024;
/// Such words of all others that a node takes while one of them lasts.
pub const PROVIDED_BY_ALL: usize = 8_192;
/// How long such a word lasts; it is said again after half of that.
pub const PROVIDE_MS: u64 = 3_600_000;
/// Found holders of artifacts that the node has not heard of yet; further ones are lost.
pub const PROVIDERS_FOUND: usize = 256;
/// Nodes on which a mesh may have each artifact kept.
pub const REPLICATION: u64 = 16;

/// Jobs that are accepted and not yet final.
pub const OPEN_JOBS: usize = 1_000;
/// Requests of clients that wait in the leader for the log, and their bytes: most have a few hundred, but a submission may
/// have a MiB.
pub const REQUESTS: usize = 10_000;
pub const REQUESTS_BYTES: usize = 64 << 20;
/// How long a client waits for the hub before it is told that nobody answers.
pub const REQUEST_MS: u64 = 30_000;
/// Submissions whose nonce is remembered until they expire.
pub const NONCES: usize = 100_000;
/// How long a submission may wait to be committed.
pub const SUBMISSION_TTL_MS: u64 = 24 * 3600 * 1000;
/// Public keys whose points a thread remembers.
pub const KEYS_MET: usize = 1_024;
/// True signatures that a thread remembers.
pub const SIGNATURES_CHECKED: usize = 8_192;
/// Members of the hub.
pub const HUB_MEMBERS: usize = 5;
/// Keys that may take a seat in it.
pub const HUB_ADMITTED: usize = 16;
/// Nodes of whom it is kept beyond a start where they were found: who may sit, and who still does.
pub const WHEREABOUTS: usize = HUB_ADMITTED + HUB_MEMBERS;
/// Bytes of all that is kept of that.
pub const WHEREABOUTS_BYTES: usize = 48 << 10;
/// How often a mesh may change them: every receipt carries all changes.
pub const AMENDMENTS: usize = 64;
/// Who sits in the hub and was not heard for so long is replaced, if somebody stands by, in milliseconds.
pub const SEAT_LOST_MS: u64 = 60_000;
/// How many changes of who sits a node may have missed.
pub const SEATINGS: u64 = 1 << 20;
/// Who hears nothing of a leader for so long asks whoever was ever admitted who sits in the hub, in milliseconds.
pub const SEAT_SILENCE_MS: u64 = 10_000;
/// How long a leader waits before it tries again to change who sits, in milliseconds.
pub const SEAT_RETRY_MS: u64 = 5_000;
/// Links of a member's beacon chain. One serves every batch that is committed to before it is revealed.
pub const BEACON_LENGTH: u64 = 1 << 20;
/// Log entries kept before the state is written as a snapshot.
pub const LOG_ENTRIES: u64 = 1_024;

/// Batches by which a mesh of one goes ahead of its disk.
pub const AHEAD_BATCHES: u64 = 4_096;

/// How often the leading hub member says that it leads, in milliseconds.
pub const RAFT_HEARTBEAT_MS: u64 = 50;
/// A job of which nothing was attested for so many milliseconds after its first shard was lent is said to run by an entry
/// of its own. Should the leader be lost within that time, the next one does not know who computes, and lends anew.
pub const START_MS: u64 = 100;
/// A leader's entries that are not answered for are sent again every so many heartbeats; in between it says that it leads.
pub const RAFT_ASK_AGAIN: u32 = 5;
/// So few bytes of entries are sent again after one heartbeat already.
pub const RAFT_SHORT_BYTES: usize = 64 << 10;
/// A leader whose disk has made nothing durable for so many milliseconds while it should says no more that it leads.
pub const RAFT_STUCK_MS: u64 = 15_000;
/// Silence after which a hub member asks for votes is drawn from this range, in milliseconds; a leader's is borne for the
/// range's length longer. So a leader that died is followed by another within a second.
pub const RAFT_ELECTION_MS: Range<u64> = 250..500;
/// How long a leader waits for the answers that show that it is still followed, and how often it asks for them, in
/// milliseconds.
pub const RAFT_CONFIRM_MS: u64 = 2_000;
pub const RAFT_CONFIRM_AGAIN_MS: u64 = 200;
/// Terms and log indices stay below this, so that adding to one never overflows.
pub const RAFT_NUMBER: u64 = 1 << 48;
/// Members with and without a vote, while some come and others go.
pub const RAFT_MEMBERS: usize = 4 * HUB_MEMBERS;
/// Bytes of an entry of the replicated log: a command and its place.
pub const LOGGED_BYTES: usize = COMMAND_BYTES + 1_024;
/// Once a message holds so many bytes of entries, no further one is put in.
pub const RAFT_APPEND_BYTES: usize = 1 << 20;
/// Entries of one message.
pub const RAFT_APPEND_ENTRIES: usize = 256;
/// Bytes of one message between members: the last entry put in may be as long as any.
pub const RAFT_MESSAGE_BYTES: usize = RAFT_APPEND_BYTES + LOGGED_BYTES + (64 << 10);
/// Bytes of a snapshot that travel in one message.
pub const RAFT_CHUNK_BYTES: usize = 1 << 20;
/// A part of a snapshot that is not answered for so long is sent again.
pub const RAFT_CHUNK_MS: u64 = 500;
/// And after so many times the whole is taken up anew, by then perhaps with a newer snapshot.
pub const RAFT_CHUNK_TRIES: u32 = 10;
/// Bytes of what stands before the state in a snapshot: its place in the log, and the members there.
pub const RAFT_HEAD_BYTES: usize = 4 << 10;
/// Questions to other members that wait for an answer.
pub const RAFT_ASKED: usize = 64;
/// Questions of other members that are being answered, and reads and changes that are being made sure of.
pub const RAFT_TASKS: usize = 64;
/// Proposals that are neither in the log nor lost.
pub const RAFT_PROPOSALS: usize = 1_024;
/// Events of the replicated log that wait for the node.
pub const RAFT_EVENTS: usize = 256;
/// Recent log entries that are held in memory, in number and in bytes; those that are not durable are not counted.
pub const RAFT_RECENT_ENTRIES: usize = 1_024;
pub const RAFT_RECENT_BYTES: usize = 16 << 20;
/// Log entries that stay behind a snapshot, for members that are a little behind.
pub const RAFT_LOG_KEPT: u64 = 256;
/// How long a newcomer may take to catch up before a change of members is given up, in milliseconds.
pub const RAFT_CHANGE_MS: u64 = 60_000;
/// Percentile levels one job may ask for.
pub const LEVELS: usize = 32;
/// Rows and columns of a loss triangle.
pub const TRIANGLE_SIDE: usize = 64;

/// A message with a larger body travels on a stream of its own, so that small ones are not held up.
pub const SMALL_MESSAGE_BYTES: usize = 64 << 10;
/// Messages of the node that its network has not looked at yet; further ones are lost.
pub const MESH_COMMANDS: usize = 4_096;
/// Messages from others that the node has not taken yet; further ones are lost.
pub const MESH_INBOX: usize = 4_096;
/// Nodes that came or went of which the node has not heard yet; further ones it finds out otherwise.
pub const MESH_PRESENCE: usize = 1_024;
/// How many messages may be one peer's; then nothing more is read from it.
pub const MESH_INBOX_PER_PEER: usize = 256;
/// Bytes of all large messages that are being received or were not taken yet.
pub const MESH_INBOX_BYTES: usize = 2 * MESSAGE_BYTES;
/// A message with a larger body is long: pieces, entries of the log and parts of its snapshot, which come all the time, are
/// not, and never wait for the room that long ones take.
pub const MIDDLE_MESSAGE_BYTES: usize = 8 << 20;
/// Bytes of `MESH_INBOX_BYTES` that are for large messages that are not long.
pub const MESH_MIDDLE_BYTES: usize = 128 << 20;
/// And of these so many may be one peer's, announced ones too. Of long messages a peer may have one under way.
pub const PEER_MIDDLE_BYTES: usize = 32 << 20;
/// Messages that wait for one peer's stream; further ones are lost.
pub const MESH_OUTBOX: usize = 1_024;
/// Bytes of all large messages that wait for a stream; further ones are lost.
pub const MESH_OUTBOX_BYTES: usize = 2 * MESSAGE_BYTES;
/// Nodes without a connection for which messages wait.
pub const MESH_AWAITED: usize = 1_024;
/// A message for a node that is not connected is lost after so long.
pub const MESH_WAIT_MS: u64 = 5_000;
/// A frame must arrive, or be taken, in this time ...
pub const FRAME_MS: u64 = 10_000;
/// ... and what it takes at this many bytes a second; of one that arrives only what has come counts, and never for more
/// than `FRAME_MS` of silence.
pub const FRAME_BYTES_PER_S: u64 = 64 << 10;
/// A message that takes the last room, while others wait for it, must come so fast, or it is lost.
pub const SEAT_BYTES_PER_S: u64 = 512 << 10;
/// A stream on which nothing was said for so long is closed by its writer, unless a hub member is at its end.
pub const STREAM_IDLE_MS: u64 = 60_000;
/// Streams that one peer may have open towards this node.
pub const STREAMS_PER_PEER: usize = 4;
/// Streams of all protocols in one connection.
pub const STREAMS_PER_CONNECTION: usize = 128;
/// Faults of a peer after which it is disconnected and banned. One is forgotten after `BAN_MS`.
pub const STRIKES: u32 = 3;
/// How long a ban lasts.
pub const BAN_MS: u64 = 600_000;
/// Peers whose conduct is remembered.
pub const CONDUCT: usize = 8_192;
/// Bytes a second that one peer may send for long; as much again for each second of `PEER_BURST_S` at once.
pub const PEER_BYTES_PER_S: u64 = 1 << 30;
/// Messages a second, likewise.
pub const PEER_MESSAGES_PER_S: u64 = 50_000;
/// Seconds' worth that may come at once: what was held up on the way arrives together.
pub const PEER_BURST_S: u64 = 10;
/// Readers that keep the memory of a long message for the next one, for a moment: 33 MiB for all of them.
pub const KEPT_BUFFERS: usize = 32;
/// A sender keeps to this fraction of what it may send, so that no honest one is ever struck.
pub const PEER_PACE_DIVISOR: u64 = 2;
/// Connections, established.
pub const CONNECTIONS: u32 = 1_024;
/// Connections to one peer: direct, relayed, and both at once while they change.
pub const CONNECTIONS_PER_PEER: u32 = 4;
/// Connections from one IPv4 network of 24 bits or IPv6 network of 48.
pub const CONNECTIONS_PER_SUBNET: u32 = 256;
/// Connections being made, each way.
pub const CONNECTIONS_PENDING: u32 = 128;
/// Bytes that are read from a socket at once, and are held for each connection: 36 MiB for all that there may be.
pub const READ_AHEAD: usize = 32 << 10;
/// Bytes that are gathered for each connection before they are encrypted: 72 MiB for all that there may be.
pub const GATHERED: usize = 64 << 10;
/// Peers of whom an address or a key is remembered.
pub const PEERS: usize = 16_384;
/// Addresses remembered of one peer.
pub const PEER_ADDRESSES: usize = 8;
/// Searches for nodes under way at once.
pub const LOOKUPS: usize = 32;
/// How often the routing table is refreshed.
pub const REFRESH_MS: u64 = 300_000;
/// Bytes of one announcement to all.
pub const GOSSIP_BYTES: usize = 1 << 10;
/// Bytes of a frame of announcements, and of lists of those that others may lack.
pub const GOSSIP_FRAME_BYTES: usize = 64 << 10;
/// How often a node asks the hub whether a node that it is connected with still belongs to the mesh, and how often where it
/// does not belong.
pub const VOUCH_MS: u64 = 60_000;
pub const VOUCH_AGAIN_MS: u64 = 5_000;
/// A connected node that does not belong is disconnected after so long, until then it may show a ticket; and may come again
/// after so long.
pub const STRANGER_MS: u64 = 10_000;
pub const STRANGER_OUT_MS: u64 = 15_000;
/// Absences of an agent for which what it has left of a job is excused.
pub const ABSENCES: u64 = 3;
/// Announcements of one author that are passed on in a second; further ones are lost.
pub const GOSSIP_PER_S: u32 = 64;
/// And that are taken from one neighbour in a second, whoever their authors are.
pub const GOSSIP_OF_NEIGHBOUR_PER_S: u32 = 512;
/// Jobs that a node announces in so many milliseconds; the others have their turn after that. It is half of what others pass
/// on of one author.
pub const ANNOUNCEMENTS: usize = 32;
pub const ANNOUNCEMENTS_MS: u64 = 1_000;
/// How long the leader may take to accept a job before its node announces it to all.
pub const ANNOUNCE_AFTER_MS: u64 = 100;
/// Circuits that a relay carries at once, and reservations it grants.
pub const RELAY_CIRCUITS: usize = 256;
/// Bytes through one circuit, each way; then it is made again.
pub const RELAY_BYTES: u64 = 4 << 30;
/// How long a circuit lasts.
pub const RELAY_MS: u64 = 3_600_000;
