-- A conversation is a tree of messages; `leaf_id` is the end of the branch that the window shows.
-- Times are milliseconds since the Unix epoch; ids are UUIDs, hyphenated, lower case.
CREATE TABLE conversations (
    id TEXT PRIMARY KEY NOT NULL CHECK (length(id) = 36),
    title TEXT NOT NULL,
    leaf_id TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    FOREIGN KEY (id, leaf_id) REFERENCES messages (conversation_id, id) DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE INDEX conversations_by_update ON conversations (updated_at);

-- `seq` is the order of arrival: it orders the versions of an answer.
-- The parent's key has no cascade: SQLite would recurse along the whole chain (its limit is 1000); all messages of
-- a conversation go together, and the deferred check is made at the commit.
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 36),
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent_id TEXT,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    status TEXT NOT NULL CHECK (status IN ('streaming', 'complete', 'stopped', 'interrupted', 'length', 'failed')),
    text TEXT NOT NULL,
    thinking TEXT NOT NULL DEFAULT '',
    stats TEXT CHECK (stats IS NULL OR json_valid(stats)),
    created_at INTEGER NOT NULL,
    UNIQUE (conversation_id, id),
    CHECK (role = 'assistant' OR status = 'complete'),
    CHECK (role = 'user' OR parent_id IS NOT NULL),
    FOREIGN KEY (conversation_id, parent_id) REFERENCES messages (conversation_id, id) DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE INDEX messages_by_parent ON messages (conversation_id, parent_id);

-- One answer at a time in a conversation; also finds the leftovers of a crash without a scan.
CREATE UNIQUE INDEX one_streaming_answer ON messages (conversation_id) WHERE status = 'streaming';

CREATE TABLE settings (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
