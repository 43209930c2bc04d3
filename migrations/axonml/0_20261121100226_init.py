from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE "instance" (
    "id" SMALLINT NOT NULL PRIMARY KEY,
    "root_fingerprint" VARCHAR(64),
    "setup_token_hash" BYTEA,
    "setup_done_at" TIMESTAMPTZ
);
COMMENT ON TABLE "instance" IS 'Facts about this instance; one row, id 1. `setup_done_at` is set once and never cleared.';
CREATE TABLE "signing_keys" (
    "kid" VARCHAR(32) NOT NULL PRIMARY KEY,
    "private_encrypted" BYTEA NOT NULL,
    "public_raw" BYTEA NOT NULL,
    "not_before" TIMESTAMPTZ NOT NULL,
    "retired_at" TIMESTAMPTZ
);
COMMENT ON TABLE "signing_keys" IS 'An Ed25519 key pair for access tokens; the private half is encrypted under a key derived from the root secret.';
CREATE TABLE "workspaces" (
    "id" UUID NOT NULL PRIMARY KEY,
    "slug" VARCHAR(128) NOT NULL UNIQUE,
    "name" VARCHAR(250) NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE "workspaces" IS 'A room of its own for a team: every other row belongs to one.';
CREATE TABLE "users" (
    "id" UUID NOT NULL PRIMARY KEY,
    "email" VARCHAR(320) NOT NULL UNIQUE,
    "name" VARCHAR(250) NOT NULL,
    "password_hash" VARCHAR(250),
    "role" VARCHAR(16) NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "last_login_at" TIMESTAMPTZ,
    "disabled_at" TIMESTAMPTZ,
    "default_workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE RESTRICT
);
COMMENT ON TABLE "users" IS 'A person. `email` is stored case-folded; a deleted user stays as a row without personal data.';
CREATE TABLE "api_keys" (
    "id" UUID NOT NULL PRIMARY KEY,
    "name" VARCHAR(250) NOT NULL,
    "lookup" VARCHAR(16) NOT NULL UNIQUE,
    "secret_hash" BYTEA NOT NULL,
    "scopes" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "expires_at" TIMESTAMPTZ,
    "last_used_at" TIMESTAMPTZ,
    "revoked_at" TIMESTAMPTZ,
    "user_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE CASCADE,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE CASCADE
);
CREATE INDEX "api_keys_user" ON "api_keys" ("user_id", "created_at");
COMMENT ON TABLE "api_keys" IS 'An API key. `lookup` is its public part; of the secret only the SHA-256 is kept.';
CREATE TABLE "memberships" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "role" VARCHAR(16) NOT NULL,
    "user_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE CASCADE,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_memberships_user_id_f2cda6" UNIQUE ("user_id", "workspace_id")
);
COMMENT ON TABLE "memberships" IS 'That a user belongs to a workspace, and as what.';
CREATE TABLE "sessions" (
    "id" UUID NOT NULL PRIMARY KEY,
    "refresh_counter" BIGINT NOT NULL,
    "refresh_key" BYTEA NOT NULL,
    "refreshed_at" TIMESTAMPTZ NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "last_seen_at" TIMESTAMPTZ NOT NULL,
    "expires_at" TIMESTAMPTZ NOT NULL,
    "user_agent" VARCHAR(250),
    "address" VARCHAR(64),
    "ended_at" TIMESTAMPTZ,
    "end_reason" VARCHAR(32),
    "user_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE CASCADE
);
CREATE INDEX "sessions_user" ON "sessions" ("user_id", "created_at");
COMMENT ON TABLE "sessions" IS 'One login. `refresh_counter` moves by compare-and-set; `refresh_key` is the session''s HMAC key, encrypted.';
CREATE TABLE "experiments" (
    "id" UUID NOT NULL PRIMARY KEY,
    "number" INT NOT NULL,
    "name" VARCHAR(250) NOT NULL,
    "living_name" VARCHAR(250),
    "description" TEXT,
    "created_at" TIMESTAMPTZ NOT NULL,
    "updated_at" TIMESTAMPTZ NOT NULL,
    "archived_at" TIMESTAMPTZ,
    "owner_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE RESTRICT,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE RESTRICT,
    CONSTRAINT "uid_experiments_workspa_414f63" UNIQUE ("workspace_id", "number"),
    CONSTRAINT "uid_experiments_workspa_12c104" UNIQUE ("workspace_id", "living_name")
);
CREATE INDEX "experiments_page" ON "experiments" ("workspace_id", "created_at", "id");
COMMENT ON TABLE "experiments" IS 'A named group of runs. `number` is stable and counts per workspace.';
CREATE TABLE "runs" (
    "id" UUID NOT NULL PRIMARY KEY,
    "name" VARCHAR(250) NOT NULL,
    "status" VARCHAR(16) NOT NULL,
    "stop_requested" BOOL NOT NULL,
    "model_type" VARCHAR(250),
    "config" JSONB NOT NULL,
    "notes" TEXT,
    "failure" TEXT,
    "created_at" TIMESTAMPTZ NOT NULL,
    "started_at" TIMESTAMPTZ,
    "ended_at" TIMESTAMPTZ,
    "last_activity_at" TIMESTAMPTZ,
    "archived_at" TIMESTAMPTZ,
    "experiment_id" UUID NOT NULL REFERENCES "experiments" ("id") ON DELETE RESTRICT,
    "owner_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE RESTRICT,
    "parent_id" UUID REFERENCES "runs" ("id") ON DELETE SET NULL,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE RESTRICT
);
CREATE INDEX "runs_page" ON "runs" ("workspace_id", "created_at", "id");
CREATE INDEX "runs_experiment" ON "runs" ("experiment_id", "created_at", "id");
CREATE INDEX "runs_parent" ON "runs" ("parent_id", "created_at", "id");
CREATE INDEX "runs_owner" ON "runs" ("owner_id", "created_at", "id");
COMMENT ON TABLE "runs" IS 'One training run. `archived_at` hides it; `last_activity_at` is the time of the newest write by the script.';
CREATE TABLE "run_params" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "key" VARCHAR(250) NOT NULL,
    "value" JSONB NOT NULL,
    "text" TEXT NOT NULL,
    "number" DOUBLE PRECISION,
    "run_id" UUID NOT NULL REFERENCES "runs" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_run_params_run_id_d81a2d" UNIQUE ("run_id", "key")
);
CREATE INDEX "run_params_number" ON "run_params" ("key", "number");
COMMENT ON TABLE "run_params" IS 'A parameter of a run: its typed value, its text form, and its number when it is one (for search and order).';
CREATE TABLE "run_tags" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "key" VARCHAR(250) NOT NULL,
    "value" TEXT NOT NULL,
    "run_id" UUID NOT NULL REFERENCES "runs" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_run_tags_run_id_8be8c8" UNIQUE ("run_id", "key")
);
COMMENT ON TABLE "run_tags" IS 'A tag of a run: a text under a key, replaceable and removable.';
CREATE TABLE "metric_batches" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "seq" BIGINT NOT NULL,
    "batch_id" VARCHAR(128) NOT NULL,
    "digest" BYTEA NOT NULL,
    "points" INT NOT NULL,
    "payload" BYTEA NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "run_id" UUID NOT NULL REFERENCES "runs" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_metric_batc_run_id_f9c79b" UNIQUE ("run_id", "seq"),
    CONSTRAINT "uid_metric_batc_run_id_342543" UNIQUE ("run_id", "batch_id")
);
COMMENT ON TABLE "metric_batches" IS 'One acknowledged batch: columnar bytes under the run''s next sequence number; also the idempotency ledger.';
CREATE TABLE "metric_summaries" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "key" VARCHAR(250) NOT NULL,
    "last_value" DOUBLE PRECISION NOT NULL,
    "last_step" BIGINT NOT NULL,
    "min_value" DOUBLE PRECISION,
    "max_value" DOUBLE PRECISION,
    "mean_value" DOUBLE PRECISION,
    "count" BIGINT NOT NULL,
    "non_finite" BIGINT NOT NULL,
    "run_id" UUID NOT NULL REFERENCES "runs" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_metric_summ_run_id_026e15" UNIQUE ("run_id", "key")
);
CREATE INDEX "metric_summaries_value" ON "metric_summaries" ("key", "last_value");
COMMENT ON TABLE "metric_summaries" IS 'What run tables show of one key: last value by step, extremes and mean of the finite points, counts.';
CREATE TABLE "run_heads" (
    "metric_seq" BIGINT NOT NULL,
    "log_seq" BIGINT NOT NULL,
    "last_step" BIGINT,
    "points" BIGINT NOT NULL,
    "run_id" UUID NOT NULL PRIMARY KEY REFERENCES "runs" ("id") ON DELETE CASCADE
);
COMMENT ON TABLE "run_heads" IS 'The write head of a run''s append logs, locked until commit so that sequence numbers have no gap.';
CREATE TABLE "log_batches" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "batch_id" VARCHAR(128) NOT NULL,
    "digest" BYTEA NOT NULL,
    "lines" INT NOT NULL,
    "last_seq" BIGINT NOT NULL,
    "run_id" UUID NOT NULL REFERENCES "runs" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_log_batches_run_id_07f115" UNIQUE ("run_id", "batch_id")
);
COMMENT ON TABLE "log_batches" IS 'An acknowledged log batch: which content, and the last sequence number it received.';
CREATE TABLE "log_lines" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "seq" BIGINT NOT NULL,
    "level" SMALLINT NOT NULL,
    "logged_at" TIMESTAMPTZ NOT NULL,
    "message" TEXT NOT NULL,
    "run_id" UUID NOT NULL REFERENCES "runs" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_log_lines_run_id_e2ceea" UNIQUE ("run_id", "seq")
);
COMMENT ON TABLE "log_lines" IS 'One line of a run''s log under the run''s next log sequence number.';
CREATE TABLE "blobs" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "sha256" VARCHAR(64) NOT NULL,
    "size_bytes" BIGINT NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE RESTRICT,
    CONSTRAINT "uid_blobs_workspa_49143f" UNIQUE ("workspace_id", "sha256")
);
COMMENT ON TABLE "blobs" IS 'A file in the content-addressed store, known by the SHA-256 of its bytes, per workspace that uploaded it.';
CREATE TABLE "models" (
    "id" UUID NOT NULL PRIMARY KEY,
    "name" VARCHAR(128) NOT NULL,
    "description" TEXT,
    "model_type" VARCHAR(250),
    "tags" JSONB NOT NULL,
    "next_version" INT NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "updated_at" TIMESTAMPTZ NOT NULL,
    "owner_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE RESTRICT,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE RESTRICT,
    CONSTRAINT "uid_models_workspa_4eed45" UNIQUE ("workspace_id", "name")
);
CREATE INDEX "models_page" ON "models" ("workspace_id", "created_at", "id");
CREATE INDEX "models_owner" ON "models" ("owner_id", "created_at", "id");
COMMENT ON TABLE "models" IS 'A named line of versions. `next_version` only grows: version numbers are never used twice.';
CREATE TABLE "model_versions" (
    "id" UUID NOT NULL PRIMARY KEY,
    "version" INT NOT NULL,
    "status" VARCHAR(16) NOT NULL,
    "status_reason" TEXT,
    "description" TEXT,
    "tags" JSONB NOT NULL,
    "metrics" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "file_name" VARCHAR(250),
    "file_format" VARCHAR(32),
    "sha256" VARCHAR(64),
    "size_bytes" BIGINT,
    "parameter_count" BIGINT,
    "tensors" JSONB,
    "architecture" JSONB,
    "inputs" JSONB,
    "outputs" JSONB,
    "created_by_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE RESTRICT,
    "model_id" UUID NOT NULL REFERENCES "models" ("id") ON DELETE CASCADE,
    "run_id" UUID REFERENCES "runs" ("id") ON DELETE SET NULL,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE RESTRICT,
    CONSTRAINT "uid_model_versi_model_i_814fb8" UNIQUE ("model_id", "version")
);
CREATE INDEX "model_versions_run" ON "model_versions" ("run_id", "created_at", "id");
CREATE INDEX "model_versions_blob" ON "model_versions" ("workspace_id", "sha256");
COMMENT ON TABLE "model_versions" IS 'One immutable set of weights, with the architecture that makes it servable and the run it came from.';
CREATE TABLE "endpoints" (
    "id" UUID NOT NULL PRIMARY KEY,
    "name" VARCHAR(128) NOT NULL,
    "status" VARCHAR(16) NOT NULL,
    "status_reason" TEXT,
    "replicas" INT NOT NULL,
    "config" JSONB NOT NULL,
    "generation" BIGINT NOT NULL,
    "pending" JSONB,
    "port" INT,
    "host" VARCHAR(64),
    "created_at" TIMESTAMPTZ NOT NULL,
    "updated_at" TIMESTAMPTZ NOT NULL,
    "owner_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE RESTRICT,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE RESTRICT,
    CONSTRAINT "uid_endpoints_workspa_e65200" UNIQUE ("workspace_id", "name")
);
CREATE INDEX "endpoints_page" ON "endpoints" ("workspace_id", "created_at", "id");
CREATE INDEX "endpoints_owner" ON "endpoints" ("owner_id", "created_at", "id");
COMMENT ON TABLE "endpoints" IS 'A name that answers predictions. `host` names the server whose replicas serve it while it runs.';
CREATE TABLE "endpoint_traffic" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "weight" INT NOT NULL,
    "endpoint_id" UUID NOT NULL REFERENCES "endpoints" ("id") ON DELETE CASCADE,
    "version_id" UUID NOT NULL REFERENCES "model_versions" ("id") ON DELETE RESTRICT,
    CONSTRAINT "uid_endpoint_tr_endpoin_c4b137" UNIQUE ("endpoint_id", "version_id")
);
CREATE INDEX "endpoint_traffic_version" ON "endpoint_traffic" ("version_id");
COMMENT ON TABLE "endpoint_traffic" IS 'The share of an endpoint''s traffic that one version takes.';
CREATE TABLE "client_tokens" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "principal" VARCHAR(40) NOT NULL,
    "operation" VARCHAR(64) NOT NULL,
    "token" VARCHAR(128) NOT NULL,
    "digest" BYTEA NOT NULL,
    "result_id" UUID NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_client_toke_workspa_8f3f94" UNIQUE ("workspace_id", "principal", "operation", "token")
);
CREATE INDEX "client_tokens_age" ON "client_tokens" ("created_at");
COMMENT ON TABLE "client_tokens" IS 'One client token, kept 7 days per principal, workspace and operation.';
CREATE TABLE "aerich" (
    "id" SERIAL NOT NULL PRIMARY KEY,
    "version" VARCHAR(255) NOT NULL,
    "app" VARCHAR(100) NOT NULL,
    "content" JSONB NOT NULL
);"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP TABLE "aerich" CASCADE;
DROP TABLE "client_tokens" CASCADE;
DROP TABLE "endpoint_traffic" CASCADE;
DROP TABLE "endpoints" CASCADE;
DROP TABLE "model_versions" CASCADE;
DROP TABLE "models" CASCADE;
DROP TABLE "blobs" CASCADE;
DROP TABLE "log_lines" CASCADE;
DROP TABLE "log_batches" CASCADE;
DROP TABLE "run_heads" CASCADE;
DROP TABLE "metric_summaries" CASCADE;
DROP TABLE "metric_batches" CASCADE;
DROP TABLE "run_tags" CASCADE;
DROP TABLE "run_params" CASCADE;
DROP TABLE "runs" CASCADE;
DROP TABLE "experiments" CASCADE;
DROP TABLE "sessions" CASCADE;
DROP TABLE "memberships" CASCADE;
DROP TABLE "api_keys" CASCADE;
DROP TABLE "users" CASCADE;
DROP TABLE "workspaces" CASCADE;
DROP TABLE "signing_keys" CASCADE;
DROP TABLE "instance" CASCADE;"""


MODELS_STATE = (
    "eJztXWtz2ziy/Ssof5lMleJK5Eeyyd5bJSeejXf9mIqVnZ2dbNGwCEkskwCHIK3ozp3/vm"
    "jw/RRJvSgGXxKLQAPSaRDoPmg0/jjC3xi1zOORbfyDLD+zxdE79McRxRYRf+QLB+KZbcdF"
    "8MDFj6Zf2za0J7LkstYjdx08ccXzKTY5EY90wieOYbsGo1B7RNHo5yskBI7Rg8nYk2c/II"
    "Mjw+XI9h5NY4Js7LjvEZsid04QJxOHuIhRcyk/338avRyenYPIE7HdY+hVZxPRrUFn2+rA"
    "o8bvHtFcNiOiiiO6+e0/4rFBdfKNcPj4x9HUIKYu/z7yOHE0QwdJ0TZ2ia5h9wgkyDfbIZ"
    "wLLHjYSAR6AKMG0hLgpS0LjqScgFV++BNk7CdNdpfSmt+hfK6Fsl++XH38SdYEmB61CTM9"
    "i8a17aU7ZzSq7nmGfgwyUDYjlDjw5RPKpJ5pBnoPH/nYiAeu45EIFD1+oJMp9kwYEkd/nX"
    "p0AiMByZ7gn9P/Db5aopqm3d6NtfvLsaYd5UYQfIWMzoNHE4GqgMmgLoD7x59+uzEg8ukR"
    "dPDh0+jzi5PzHyUEjLszRxZKuI7+lILYxVqs0hhl+X8O5w9z7BTjHNbPIC2+aBuMwwcxyP"
    "FrFsIXArQFSI8s/E0zCZ25c/FxePaqAuN/jj5LmEUtiTMT84I/YdwGRUO/DPCO8fXf2CYI"
    "xxKbwXj1ON4Zwq/PawD8+rwUXyhKw+vPdtoc83ke4wuDYmdZjHJGMAP149Il/AAHdAW8F9"
    "d3F9CyxfnvZoD3xdXt6POvL25G/5KQW8ug6Pru9m9h/eR8cvHr+HKU1cCE2T5WafD/fn93"
    "WwJ9JJFBXTcmLvp/ZBrc7Rf2gEUK+3BIR9AnRvuHAuChgYsM8ImlOAf+R1HiGhYpVkBaMq"
    "uEQPQ4/KNfqhhf3Vzej0c3P6f08XE0voSSYeo1CJ++yM5IUSPol6vxJwQf0b/vbi+zaovq"
    "jf99BN8Jey7TKFtoWE9iEj4OH6XULEwsQzTXQs1pyQ2oOVg4lJY3r2UTcxcs5Tavc1ZWab"
    "rLmnbIM3tqpee0pNJyl7WccJnrerAJkU26sd1V6kqvNYZzwZwnbuMJaYhpVk4BK4AFxmX6"
    "VMgGhFxNGt+fmEOMGf0H8X2pK/E9MJ0U0QAB0/ZFNBPwbIeJavw0niYdvIhYquTLKn6+Tk"
    "zi+m796P7D6OPlUfHo3QC0v4Rt9Rvf7ItbDDKM5Ec8eVpgR9dSQxpK2JBlnkR180XW0Mo+"
    "wRTPJELwU+RC4KsgVFIJzZwsHlQRzUZC2auJ5p9EKUf4kXkucudAAAfi7xGjBDlsMUCGjl"
    "4fowdOXM/WdPFY2AqSLOaSEZ4QhKmOKHkmDhKLInaIniect9nRauK5ER18b2HTvKJuA0oY"
    "hlyL12a/JNoMvsLLk+Gb87eiVH5D+PCmYg24vxldX1/djlfQvw5jriigM+LYToBNXaKySL"
    "YVZdkxOzTNWZ6f1uAsz09LOUsoynKW8Na4wpanrYjLvHRL9rJjuO+DvExOYE39sZywcsm6"
    "5pLlTN39WAw3xHokDp8bdonNkK5QaTVYUdWaO9TjOXYRRmCxokdiMjrjyGXiSWRjDeRqjT"
    "laiKp5g6BNAwUL/W+RdxHbw/9ZZ/W/MGZrr/3B+9b1pf8vw+HJyZvhq5Pzt2enb96cvX0V"
    "GQL5oiqz4OLqb2AUpF7COlaC2WiTOKzfw03izW9hKqpIUUVdBbaCKlKkxpZIjezcoPi4Tf"
    "Bx+zH87v3guBKrL1FaafLxMMSulr13Rwky2cygx+jBIVPxQs8Ffh51ifOALPZMOHpcogmz"
    "bOyQl8Jweykcmfdx3SeylFSOH0woe/6Bo083ow8QhDhAhE6cpe0WUUe77XoXUYwh9CqKce"
    "9rUaWBmh5szXyFAuHNkIZ15s5XPXAc8noQb2szVisjqMLxBi0ZrQDIlgEGaVkVGdY5QksF"
    "AH53apbhXZwQ2jY0LCGrVN1pVXco1lOpecvBYcJhbLbdmpbq30brVo7fCK2Aa9cE54RI/0"
    "De/G42ET+rjQ2SlFMbp12eroSmNGEwcoFAg9coLdW/N+lkWONNOhmWvklQpDaCVGirotJr"
    "UulCTeLnlR/vT1cYVBLqftVmx/wv9eHZ2eu/ABONbGw4aMochCcTYSsgGY7F30vi2naMZz"
    "Eq0BybUyCzI9IaeULxQkS2IP4ynsWzqcMsKQbRdMHh/cIkADvufo1IzaeiOax8oXgqnL8O"
    "/7DzphaIctY7ULUWqbgZ51oorpjXQUvm1U/GoYm5tKEaUnIK/7b4U+Zqj0TMigURCdWuSF"
    "pSkSed9kbEAmU4Lbc3kpLK5+yaljsSrBta+AUmZsL4LzcuwX6ua1UiW9RlEC5BLGyY/hEa"
    "V0xEOppgTl5OmakT/b0w2nw7XPejcIWTsuQQb4vhOA5aGGIoe27QGDYRWAwFRuS2e9vw6R"
    "4VJrHpMAmp9kYkTijQQ+u8DtssalXY5zm2WSXT2i6bb2POF0xM8MXHpsqBzgn2j4/cCuAq"
    "8H+Lgf8qfqO3pmwufkNGxbYN4EgKK7ely7rWDQ4gt3mnM6JKz53Wsw+O1vawUZm82sSr3s"
    "TL4baBHb3v5PBR2ZBL7fF9Fm/G56sP431t8qV0UUDAZHVVzsJEP7M2FeMwZkESbUiszRbU"
    "319DLsHWOwSJTJaIAashOZDEMWhGSRHVsmZrikrpwEQ0qKBSuOnNmnhGYf3eESmvh2/rOE"
    "bDt+WeEZQpImWXfr1yPXtrpnZkF+Xym00cMQKoW7KUpytUruUkqlp7MYfOdDRzmGfDKux4"
    "lB+jB+pB7pRg3wNal3lL5Lk/DvsZcUaToiV97Ta/0q/0wTSeIfQIGntADrHF6+QfeIUnaD"
    "E3RAvwMf7R0DRlLsLOZC6DdqADeCYQR3jqEgfUxd9JW8N/jShEBRn8K50L8+Jr8G6lvw3C"
    "ljA6ZFf+V/p6FN4RAod04Tksfo+Yl1okv6WTAPhIwInaTEHiJ+cyvqSO6GZt0/RkI56tOK"
    "2bGCiaLcalHEXqwG4HzadgrOSQLj2kGwvs7mzuNtd4/3ju8PXpm9O3J+en0anc6EnVYdz8"
    "wVtlMG35GpfEFNYA5oyY2nWqBXbym+XAHotJvIxUS4n1AewqY/TyX+OUHZq7UyQVRRdWz1"
    "40ovyC78QvSJ00sfWWak5LKjV3Ws2hw9BCzxlRtRvVZT2zBW18ciwpo3adVA5BlUOwE/iu"
    "l0Mw3r7LTQ8bQLj/Rx+Tk2Kn9kU/e/Rn7GCrhEtNFg+qmFTHo5oNNesHqENtgYIDlCcG0t"
    "PnGWFs6OgZm4CifCD8MtjltPxk0PDI52zQYk6o+AzsIlwg8QK2QjkBC0PWZI5OnB8Lw9V3"
    "2Xchvym6hDLISlZJXAZpy2IGtIqljJWgxazWJmhKlRAbynaRELswv13FEdfCrHaKbCvhf+"
    "Sbnce3/EbZSEBdKLvGhbIwizbh28L6vRjWu2bayjZAfjIZbroFMgWZXrngH+++XFxfop8/"
    "X364ur8Kxnrkc8tCeCQeGKGBNrrOnl0Qy2wz9y2WUI5bteMW2EVrOhTCbO23PxEPqC5lUg"
    "lgL/Yj6rgQDRKRS3gElGC8H6OHBK34gOaGEBDG+Xv0II85iMaMZ8NdhnfJQQgCkItg/csA"
    "CbIg3EULR7zzYYiC32FxJvId9t0wFfm6cQ6gg1UBDjAVJrqMQyPW6TNupX7PkOt9vV79Fu"
    "r3mHTjW3UYMSYqeKSTwSMq2GGr/pdYt12vUc7MWKKHGG/+5Cd3ma05RPxWXpy1iTGTYFqG"
    "dVY4mzNISG8L9OjJjnMG3d1dp1ywi6usj/Xl5uJSqOHHtF+Qj5SymDDEfKwaDPC0VB9CS3"
    "YRZc7o1Cg4JVFO5MQSislZg8mhLMgaVpfKiQT6MLJ3TeVMsWF6RVnHyvFOiCjEVZiaimsJ"
    "H2XtUKedmtOSKnqpy1pWCeT7ruEsw9ZU00XySuNd1riKPP0+9JxjletSnzlBteOWsXFVUO"
    "+GAU3tQ9RFNCW0BqSHMwepMOnO7barMOldhEmn9zbXhDmX3aCnOOfWcRWPvtt49PwKtwFk"
    "awfmdHNZW4lralVPASu+Abr9cn29x9icMZ6Vh+cEhYNVQf4untUO8Rd1EwH22I+mT1wWNI"
    "A0JaaYS6PsJg6x2DN8KoraX7e5poH4KkRehch3a3rfX4h8+Y5TWYj8YSK86w0nFUusYon3"
    "bLN0M5b4hohfN7nA7mReYrRkalRaLpasqz1C5bqJWyHSV/wUyhYm0cV3RFL6HfJfRewgeY"
    "VaYIDImw49+gNHFKwSDlFUYlgFpwXfI9EFk5UMnVg2c0XhEsl2neIY4531XGUVicb8rGvB"
    "Z/k9YLAoU+kgTCXQXyP4A4E+ZULbiQpiyKNXpIGJmpTphRW1g0S+ujEjvICSqLoQM5ZRl2"
    "FmzdXal5EyI8iWmsa9dEqJBfo0q2wsv6KNlybDTS/YjYXUSG47klWsXxttHFwkgfKwlYe9"
    "XUwP2sO+9yxLrDOVPnaizqCGl81ldaOun/3LHLvgwSLZDkccUouzqUyr80SW7xBE6flJee"
    "CALHeJPUBwZpJYojbQ/BbBNDxPOzUonKT1rY5BkC4972LvqtNNJP+RUYo+zbrijGlWAVpE"
    "zqosQN1zGtUWx362OBLvU37xKs+SkhZrmSmla3BvOVWKxAwmz2azSUqsT27jjskoy6AtBn"
    "pKSmUEqjHMYc5qgXNSSuFcB2dhc7UBOiWmkK6BtDRhm03akYiasFtP2FTg5jsTzbBPyykF"
    "tFaAYosUW7RdTA+ULRKwfyJYLw8gDUsHqyJI56JiTWpoPCdBZjQQioI/f+BIdEGojkw24w"
    "Px7+SJ6EgsP4aJJsyyDBfJoAeci4fgaI6fxQeGZtjO00Lb7lBe1BeyNOT3B8kkPYhGg08O"
    "SSaFyzU1M54JRcxz0YtX6H9Eo5SgJXFL80zXjdLoyqy3V+pnnaNL5VROrOxmK3pabncr+q"
    "teLefBm9WQfYiFFO4tcd8X79MxL20/6JfFaFRBv48wjcMf8zlrt4lxtsIyvqNkzMQ/W7eL"
    "u7DqbtYqXsvSvWazqrDjZHGlrQvLSKOA4xFNR/2KBsLI38XcmMyFpUldQl3/LhJ5vzLOW4"
    "lwKYlDJgRSXRScotpOH1XbnCpouHvzVpXFqiJYVQRrF5yubcX9mQYtymFZbpSG9ftEq24s"
    "ftU32Ru7WAmpPsGq2OqOTSKKre6SXb4ztloY6ddi2i434cPSlRZ8NPvXOzAI1ZO0MdjXhe"
    "f0oCBjVRcfBFy7xZUH/JRZ3p25XZ3l27sKErYNeSZmHvR7C5tmuWkTCvUJ+JPhm/MIavhQ"
    "Be79zej6upCLn7U6bpMSVKdtOn3axiKcB9dHpVVcnkAkIdIL6kClEOka7MoJ+C6dgAuTPZ"
    "Z4AGFRpfn/KCrVznU2NUyCDCqN8oBDfynmTTipQ3TEXTFmBgiIdxre8nf/afRyeHYOtj3c"
    "Ky4ZvAGy4W7xMMekH1Hi2XDYl8D140Vp0XbYc6ErkUoiyudYtKx8ii4ZtBU+ha+tnAYq7m"
    "OLJHqxVqdp/vPTGiz/+WkpyQ9FmfvYjP8jWsTNN/DdUnJ98iR27MKpQ/6t7NRDcztUwnCV"
    "MLyjtnHNhOF7ygEAt0+Wnf0PyyqNZHl/ZW0rGbrQI0r7mTjyGPsxegAGWws+PyBGzSWaOW"
    "zB34WVohhoiJGmRDxFHti37sKYFGYL3mZXq+1giWXl4f51r+r2gW94Wfc6F1gHHaorrPc+"
    "QVeZ9OoK6y1H7SS+WQ7mcpIzI6bu5mzOc6r7lXeWISNM8p8Gufx25bC+ult5nbuVE3ZJHv"
    "zyo78Zsd2RBa+3NcA3HKKmOIBWc/ihcQCerbdUc1pSqbnTalbXF6rL9roLrOLO9sCdqTvg"
    "2oBb4w64PZKS//Qt2ipuMlFlsJKiDE3kBrG8hmV5shHEiQsk4kIMoTkk+FwY7lzupMs7pV"
    "0ycT0n2DK38BPhcD5OjJ/n6CKyIFQXnk/EL0FTh1nF4b676LSQvpQoQWnoS1Syl3HERysa"
    "MdKGFkTY1KMvs/NBGG3QqEcI61D8ZVf5y+YO8F583wM6oSVWOtcroHMqgjwiiT6ywud1SO"
    "Gsh5PghM9zQR4SLk3Mg7wZKZwT7AM9uWtaWBHy+0JescR7YIn9vFCNcE+IKOjXgF7xyK2m"
    "nkMjGCGeWmu6jZ4S6sNisoNdRonZlDlW0Qu1AupYrH9gnwxrYH0yLIUaijIW6q7jvDuNb6"
    "/CvLuG9H4S3mFH/OUSR2uRt7xAWGmirSZcQjlzmrkFscha5mnH8N+1dZpkhZvAn5VTOmiv"
    "A4PaXlHizXL0YwmFe3vcmec2BT4hopBf3yd+XDaMHsgJqvCBwnjXZqgmZRSg3UiUcDgzhA"
    "oaUkFDncd3G0FDUezDmggnj8z1FN3kClOc7CMz5W4A1tr5U7o51bZNnyK6R7dfrq+PSiyu"
    "DSDb/yi3nJ3ZqVC3S6rLixdKwtySxYOqEDcSVGx0ENePHcOUL+Cwq+0Q8HyCQ7JzsUo9yF"
    "pcxpFBYBnkhxHPCXKIbRoTzP2nEF+2mMskNPJK7YLbtrfcn7xVKRi/8lCvPM/rB8zB8d0l"
    "mswxnYXBch6H7PV44kfThY0Pohuc4KlwDyfM8hNvUsREIy5+IjRsyOBfqX8y2CET5uhEF7"
    "8BLogSP/hBlIovCD8Vvh4Vj1CoHyhyWfA74OTO++ASKUMWBdl2/K8lvqWvtkfit/eVSjmO"
    "KFt05hhyNPJ2eBI57lMdRt678TpA6jBynbCzbRxGVqF9KrSvGx7udjJbBktzHvjSzbykiI"
    "oGLjoMy+jUmDVhymMJFT22BlMe26d58Ku2p9NyvTndvesIAd82bzLuEyJqh6j9uLeZUxCQ"
    "UXEPodO3EIyNzd3gJDcx9sL6fbA9th3CpYJ7W5l9hxbcq5JEfBdqVkki1H5vd4FV+7173u"
    "9VSSIOPklEuDU2dvB0akxWbKAlag3q7KNpri9QbzttDBtWc8gW628Xha38wFHQjr+xxCiJ"
    "cszCdlLBTtl6TRVuCIVNQIVauR2CSlr9jZgQrmQeuk3syKibIDbLh5Tv1PhZRhr46bGAol"
    "kLXPXozWhmLmXElLWUgTUxNTVANS2lQK02QZPrxZr2USZ+5TDRXWkjZV7a1VFxpTlu2gUc"
    "pvNg9RTk9DvcKVP0g2kQYWKyJ1KWrixTo9IEnci6woYTlRskK/PFkBQboCdiu+gN0vGSy3"
    "u9bKGDiWFjoYD4ii/IEcbsYHOpOBvZRlpdHaYUNSR1ayf2u2TP1eZqgn9dYa6moNWqw5WU"
    "ndpJOzU1Uurug6SEehj3clonOcNpeW6G01xqhtQ7WBfmlFAPYd78ppM/uzWAOBLoIbzbua"
    "7DmJGiTdMLg2JnWQxyLJNBOcrUcGA4V83CwS5+tKkjwLy4uh19/rU4cOuiYNf/4tfx5SgX"
    "usXFT2h63C4ppNw0tUP9PW5dqp02tdPWUR+8cqdtz5d9j4hjTOZHBc53UDKocrpxXGeVt1"
    "2OaoGfm/FbGzmV34tHuSbn3iKVdLl9XZ5Lug8W9vDsrIaFLWpVZPE7y1rY8FI1QDio3kN0"
    "X7+q44aLWuX+y6ucIy56dEkRF18Zrx+KqID9hoHLOXthl4vZn/8F/QHoIw=="
)
