-- teal: table events version 0.0
CREATE TABLE events_0_0 (
    id String,
    name String,
    createdAt DateTime
)
ENGINE = MergeTree
ORDER BY id;

-- teal: table events version 0.1
CREATE TABLE events_0_1 (
    id String,
    name String,
    createdAt DateTime
)
ENGINE = MergeTree
ORDER BY (id, createdAt);
