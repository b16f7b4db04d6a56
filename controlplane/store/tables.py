"""The tables, as SQLAlchemy Core metadata. Times are Unix milliseconds. Never runs a statement.

Texts have no length here: SQLite ignores one and PostgreSQL refuses by it, so bounds are checked where input comes in.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text, false

metadata = MetaData()

edges = Table(
    "edges",
    metadata,
    # A hash over the key: a long path would not fit PostgreSQL's index rows (2,704 bytes), and a short key is faster.
    Column("key_hash", LargeBinary, primary_key=True),
    Column("source", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    Index("edges_by_source", "source", "key_hash"),
)

#: What is known of the use of an edge beside its count and times, as `graph.packed` writes it. Older edges have no row.
evidence = Table(
    "evidence",
    metadata,
    Column("key_hash", LargeBinary, primary_key=True),
    Column("packed", LargeBinary, nullable=False),
)

#: When a service's sidecars were heard, as `graph.packed` writes it.
watches = Table(
    "watches",
    metadata,
    Column("service", Text, primary_key=True),
    Column("packed", LargeBinary, nullable=False),
)

#: How often an edge was used in an hour, with each verdict, as whose sidecar told: what a replay reads. Rows of an hour lie
#: together. ``direction`` is ``in``, ``out``, or empty where it was no sidecar or is not known.
history = Table(
    "history",
    metadata,
    # Hours since the epoch; and a hash over edge, verdict and direction, the path in it as its shape.
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("key_hash", LargeBinary, primary_key=True),
    Column("source", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("deny_id", Text, nullable=False),
    Column("direction", Text, nullable=False, server_default=""),
    sqlite_with_rowid=False,
)

violations = Table(
    "violations",
    metadata,
    # From `counters`, so that ids become visible in their order and a reader that follows them misses none.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    # A hash over all that makes two uses one row, and the time from which the row's window counts.
    Column("fingerprint", LargeBinary, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reporter", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("host", Text, nullable=False),
    Column("server_name", Text, nullable=False),
    Column("peer_address", Text, nullable=False),
    Column("deny_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    # The proof by which the connection was made, 0 for none.
    Column("probe", BigInteger, nullable=False, server_default="0"),
    Index("violations_by_window", "fingerprint", "opened_ms"),
    # Each ends with the order in which they are read, so that what is passed over is passed over in the index.
    Index("violations_newest", "last_seen_ms", "id"),
    Index("violations_newest_to", "destination", "last_seen_ms", "id"),
    Index("violations_newest_from", "source", "last_seen_ms", "id"),
    Index("violations_newest_denied", "deny_id", "last_seen_ms", "id"),
)

#: How often violations were seen in an hour (counted from the epoch): what histograms read, and searches for what is rare.
violation_hours = Table(
    "violation_hours",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, primary_key=True),
    Column("destination", Text, primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("protocol", Text, primary_key=True),
    Column("verdict", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Index("violation_hours_from", "source", "hour"),
    Index("violation_hours_to", "destination", "hour"),
    sqlite_with_rowid=False,
)

#: The same whoever called whom.
violation_totals = Table(
    "violation_totals",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("protocol", Text, primary_key=True),
    Column("verdict", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: Groups of violations, as `violations.incidents` finds them, and what people did about them. Names are JSON lists.
incidents = Table(
    "incidents",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("anchor", Text, nullable=False),
    Column("sources", Text, nullable=False),
    Column("places", Text, nullable=False),
    Column("source_count", Integer, nullable=False),
    Column("place_count", Integer, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("denied", BigInteger, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("why", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("assignee", Text, nullable=False),
    Column("closed_ms", BigInteger),
    Column("closed_by", Text, nullable=False),
    Column("close_reason", Text, nullable=False),
    Index("incidents_newest", "last_seen_ms", "id"),
)

incident_notes = Table(
    "incident_notes",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("incident", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("text", Text, nullable=False),
    Index("incident_notes_of", "incident", "id"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("document", Text, nullable=False),
)

#: At most one row: the revision in force.
active_revision = Table(
    "active_revision",
    metadata,
    Column("singleton", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, ForeignKey("revisions.number"), nullable=False),
)

proposals = Table(
    "proposals",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("base_revision", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("decided_ms", BigInteger),
    Column("decided_by", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("revision", BigInteger),
    Index("proposals_by_status", "status", "number"),
)

modes = Table(
    "modes",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("mode", Text, nullable=False),
)

#: Since when a service has a mode; without a name it is the mode of all that have none of their own.
mode_changes = Table(
    "mode_changes",
    metadata,
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("mode", Text, nullable=False),
)

#: What the control plane says of a sidecar. What telemetry says is in `reports`: two writers, no row between them.
sidecars = Table(
    "sidecars",
    metadata,
    Column("workload", Text, primary_key=True),
    Column("instance", Text, primary_key=True),
    Column("connected", Boolean, nullable=False),
    Column("connected_ms", BigInteger),
    Column("sent_version", Text, nullable=False),
    Column("acked_version", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("nack_type", Text, nullable=False),
    Column("nack_message", Text, nullable=False),
    Column("nack_ms", BigInteger),
    Column("agent_version", Text, nullable=False),
    Column("envoy_version", Text, nullable=False),
    Column("capture", Text, nullable=False),
    Column("certificate_not_after_ms", BigInteger),
    # The control plane that it is, or was last, connected to.
    Column("plane", Text, nullable=False),
    Column("image_digest", Text, nullable=False, server_default=""),
    Column("address", Text, nullable=False, server_default=""),
    # Of the roots that it took last, and of the key that signed its certificate.
    Column("bundle", Text, nullable=False, server_default=""),
    Column("issuer", Text, nullable=False, server_default=""),
)

#: Control planes that share the database, and when each was last there.
control_planes = Table(
    "control_planes",
    metadata,
    Column("plane", Text, primary_key=True),
    Column("beat_ms", BigInteger, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("workload", Text, primary_key=True),
    Column("instance", Text, primary_key=True),
    Column("last_report_ms", BigInteger, nullable=False),
    Column("blind_since_ms", BigInteger),
    Column("gap_ms", BigInteger),
    Column("lost", BigInteger, nullable=False),
)

#: The last stored batch of each life of a sidecar's spool, and when a batch of it last came.
epochs = Table(
    "epochs",
    metadata,
    Column("workload", Text, primary_key=True),
    Column("instance", Text, primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("stored_ms", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

#: Timed exceptions. ``http`` and ``before`` are JSON lists of [method, path]; ``before`` is null where nothing was allowed.
grants = Table(
    "grants",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("service", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("http", Text, nullable=False),
    Column("before", Text),
    Column("reason", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("ended_by", Text, nullable=False),
)

#: Edges that were asked for. ``http`` is a JSON list of [method, path]; ``closed_ms`` is null while it awaits a decision.
asks = Table(
    "asks",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("service", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("http", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("link", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger),
    Column("closed_by", Text, nullable=False),
    Index("asks_open", "closed_ms", "id"),
)

#: Who answers for an approved edge, why, and until when; null where it has no end.
leases = Table(
    "leases",
    metadata,
    Column("service", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("expires_ms", BigInteger),
    Column("actor", Text, nullable=False),
    Column("set_ms", BigInteger, nullable=False),
    # Whether it stands in a file that was applied.
    Column("written", Boolean, nullable=False, server_default=false()),
)

#: Who agreed to what a row of a proposal asks (`graph.rows.question_of`), until it is decided.
approvals = Table(
    "approvals",
    metadata,
    Column("question", Text, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    *(Column(name, Text, nullable=False, server_default="") for name in ("owner", "reason", "ticket")),
    Column("expires_ms", BigInteger),
)

#: What was said about an edge, approved or not ("source -> destination:port").
comments = Table(
    "comments",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("edge", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("comments_by_edge", "edge", "id"),
)

#: When approved edges were last used, of those whose uses are not kept any more; the source as a rule writes it.
last_uses = Table(
    "last_uses",
    metadata,
    Column("service", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("last_used_ms", BigInteger, nullable=False),
)

#: Staged rollouts of enforcement, as `policy.rollouts` has them.
rollouts = Table(
    "rollouts",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("service", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("share_percent", Integer, nullable=False),
    Column("hold_seconds", Integer, nullable=False),
    Column("max_denials", Integer, nullable=False),
    Column("denied_before", BigInteger, nullable=False, server_default="0"),
    Column("first", Text, nullable=False),
    # Empty while it goes on by itself.
    Column("paused_by", Text, nullable=False, server_default=""),
    # What is rolled out, and what was in force before; null where it is the mode enforce.
    Column("revision", BigInteger),
    Column("base", BigInteger, nullable=False, server_default="0"),
    Column("actor", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("stage_ms", BigInteger, nullable=False),
    Column("stage", Text, nullable=False),
    Column("taken_ms", BigInteger),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ended_ms", BigInteger),
    Column("ended_by", Text, nullable=False),
)

#: Local users. ``namespaces`` is a JSON list, null for the whole mesh; ``password`` an argon2 hash, empty where there is none.
accounts = Table(
    "accounts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("namespaces", Text),
    Column("password", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("namespaces", Text),
    Column("hash", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_ms", BigInteger),
    Column("last_used_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Index("access_tokens_by_hash", "hash", unique=True),
    Index("access_tokens_by_account", "account"),
)

#: Who is signed in to the console; a null ``name`` is the owner.
sessions = Table(
    "sessions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("name", Text),
    Column("role", Text, nullable=False),
    Column("namespaces", Text),
    Column("proof", Text, nullable=False),
    Column("begun_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

#: Sign-ins that an identity provider has to answer, by the hash of their state.
sign_ins = Table(
    "sign_ins",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("browser", Text, nullable=False),
    Column("begun_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

#: Calls that are done once. ``status`` is null until it ended, ``body`` where the answer is not kept.
calls = Table(
    "calls",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("begun_ms", BigInteger, nullable=False),
    Column("status", Integer),
    Column("media_type", Text, nullable=False),
    Column("body", LargeBinary),
)

#: Forbidden connections that sidecars try, as `policy.proofs` has them.
proofs = Table(
    "proofs",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("service", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("address", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("mark", Text, nullable=False),
    Column("tried_ms", BigInteger),
    Column("answer", Text, nullable=False),
    Column("told", Text, nullable=False),
    Column("answered_ms", BigInteger),
    Column("violation", BigInteger),
    Column("deny_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ended_ms", BigInteger),
    Index("proofs_by_target", "service", "port", "address", "id"),
    Index("proofs_by_status", "status", "id"),
    Index("proofs_by_revision", "revision", "id"),
    Index("proofs_by_mark", "mark"),
)

#: How many uses each workload's sidecars reported as denied, proofs left out; they count as reports come, by no clock.
denials = Table(
    "denials",
    metadata,
    Column("workload", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("workload", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),
)

#: The last number given out of each series; the row is the lock of the series. The first migration makes the rows.
counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
