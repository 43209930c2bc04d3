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
    "config" TEXT NOT NULL,
    "notes" TEXT,
    "failure" TEXT,
    "created_at" TIMESTAMPTZ NOT NULL,
    "started_at" TIMESTAMPTZ,
    "ended_at" TIMESTAMPTZ,
    "last_activity_at" TIMESTAMPTZ,
    "archived_at" TIMESTAMPTZ,
    "purged_at" TIMESTAMPTZ,
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
    "value" TEXT NOT NULL,
    "text" TEXT NOT NULL,
    "number" DOUBLE PRECISION,
    "run_id" UUID NOT NULL REFERENCES "runs" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_run_params_run_id_d81a2d" UNIQUE ("run_id", "key")
);
CREATE INDEX "run_params_number" ON "run_params" ("key", "number");
COMMENT ON TABLE "run_params" IS 'A parameter of a run: its value as JSON, its text form, and its number when it is one (for search and order).';
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
    "eJztXWtz2ziy/Ssof5lMleJK5Eeyyb23Sk48G+/6MRU7Ozs72aJhEpJYJgEOQVrRzs5/v2"
    "jw/RRJvWgGXxKLQAPSaRLsPuhu/HGAvzFqW4cTx/w7WX5mi4N36I8Dim0i/ig2jsQ1x0ma"
    "4IKHH6ygt2Nqj2TJZa8H7rlY98T1KbY4EZcMwnXXdDyTUeg9oWjy8wUSAofo3mLs0Xfukc"
    "mR6XHk+A+WqSMHu957xKbImxPEie4SDzFqLeXn20+Tl+OTUxB5JI53CLMaTBfTmnS2rQl8"
    "av7uE81jMyK6uGKa3/4tLpvUIN8Ih49/HExNYhny7wOfE1czDZAUY2OPGBr2DkCCfHNcwr"
    "nAgkeDxKCHMGogLQFeOrLhQMoJWOWHP0HGedTkdBmtBRPK61ok++XLxcefZE+A6UHTmeXb"
    "NOntLL05o3F33zeNQ5CBthmhxIUvn1Im9S0r1Ht0KcBGXPBcn8SgGMkFg0yxb8EtcfA/U5"
    "/qcCcgORP8c/x/4VdLddO065s77fb8TtMOCncQfIWczsNLukBVwGRSD8D9489g3AQQefUA"
    "JvjwafL5xdHpjxICxr2ZKxslXAd/SkHsYS1RaYKy/L+A84c5dstxjvrnkBZftAvG0YUE5O"
    "Qxi+CLANoCpAc2/qZZhM68ufg4PnlVg/E/Jp8lzKKXxJmJdSFYMK7DpnHQBngn+AZPbBuE"
    "E4nNYLz6Pt4Zwq9PGwD8+rQSX2jKwhusdtoc83kR4zOTYndZjnJOMAf1w9Ij/Bne0DXwnl"
    "3enMHINue/WyHeZxfXk8+/vria/FNCbi/Dpsub679G/dPrydmvd+eTvAZ05gRYZcH/2+3N"
    "dQX0sUQOdcPUPfRfZJncGxb2gEUG++iWjqFP3e0fSoCHAc5ywKdexQXwP4oWz7RJuQKykn"
    "klhKKH0R/DUsXdxdX57d3k6ueMPj5O7s6hZZx5DKKrL/IrUjwI+uXi7hOCj+hfN9fnebXF"
    "/e7+dQDfCfse0yhbaNhIYxJdji5l1CxMLFMM10HNWckNqDl8cSgtb17LFuYeWMpdHue8rN"
    "J0nzXtkif22EnPWUml5T5rOeUyN/VgUyKbdGP7q9SVXmsC54K5j9zBOmmJaV5OASuABcZl"
    "+ljKBkRcTRbfn5hLzBn9Owl8qQvxPTDVy2iAkGn7IoYJebbniWpyNVkmXbyIWar0wyp+vk"
    "Es4gVu/eT2w+Tj+UH53bsBaH+Jxho2vvkHtxxkuJMfsP64wK6hZW5paGFjlrsS9y022WM7"
    "fwVTPJMIwU+RL4JABZGSKmjmdPOojmg2U8peTTT/JFo5wg/M95A3BwI4FH+PGCXIZYsRMg"
    "30+hDdc+L5jmaIy8JWkGQxl4ywThCmBqLkibhIvBSxS4wi4bzNiVYTz63o4FsbW9YF9VpQ"
    "wnDLdXhs9kuizeArvDwavzl9K1rlN4QPb2reAbdXk8vLi+u7FfSvy5gnGuiMuI4bYtOUqC"
    "yT7URZ9swOzXKWp8cNOMvT40rOEprynCU8NZ6w5Wkn4rIo3ZG97Bnu+yAv0wtYW3+sIKxc"
    "sr65ZAVTdz8WwxWxH4jL56ZTYTNkO9RaDXbcteEO9d0cewgjsFjRA7EYnXHkMXEltrFG8m"
    "2NOVqIrkWDoMsAJS/632LvIrGH/73O2//MnK397g+ft76/+v8yHh8dvRm/Ojp9e3L85s3J"
    "21exIVBsqjMLzi7+CkZB5iFsYiVYrTaJo/4D3CTe/BamoooUVdRXYGuoIkVqbInUyK8Nio"
    "/bBB+3H8PvNgiOq7D6Uq21Jh+PQuwa2Xs3lCCLzUx6iO5dMhUP9Fzg51OPuPfIZk+Eo4cl"
    "0pntYJe8FIbbS+HIvE/6PpKlpHKCYEI58w8cfbqafIAgxBEiVHeXjldGHe126l1EMUbQqy"
    "jGvb+Lag3U7M3WzlcoEd4Madhk7Xw1AMehqAfxtLZjtXKCKhxv1JHRCoHsGGCQlVWRYb0j"
    "tFQA4HenZhnexQmhXUPDUrJK1b1WdY9iPZWatxwcJhzGdtutWanhbbRuJf1GaAVcuzY4p0"
    "SGB/Lmd7OJ+FldbJC0nNo47fNyJTSlCYORCwRaPEZZqeE9SUfjBk/S0bjySYImtRGkQlsV"
    "ld6QShdqEj+vOr0/22FUS6gHXdul+Z8b45OT138BJho52HTRlLkI67qwFZAMx+LvJXHtuO"
    "aTuCvQHFtTILNj0hr5QvFCRI4g/jKfxLWpy2wpBtF0YfJ+aRGAHU+/RqTmY9kaVv2ieCxd"
    "v55/svOmXhDVrHeoai1WcTvOtVRcMa+jjsxrUIxDE2tpSzVk5BT+XfGnzNMeiFgVSyIS6l"
    "2RrKQiT3rtjYgXlOl23N5ISyqfs29a7kmwbmThl5iYKeO/2rgE+7mpVYkc0ZdBuASxsWkF"
    "KTSeWIgMpGNOXk6ZZRDjvTDaAjvcCKJwhZOy5BBviyEdBy1McSv7XjgYthBYDCVG5LZn23"
    "B2jwqT2HSYhFR7KxInEhigdd6EbRa9auzzAtusimltl813MOcLJhb48rSpaqALgsPjI7cC"
    "uAr832Lgv4rfGKwpW4jfkFGxXQM40sLKbemzrg2TA8hdnumcqNJzr/UcgKN1TTaqklebeP"
    "WbeAXcNrCj950kH1Xdcpk9vs/iyfh88eFuX5t8GV2UEDB5XVWzMPHPbEzFuIzZUEQbCmuz"
    "BQ3215BHsP0OQSGTJWLAakgOJJUGzSgpo1rWHE1RKT1YiEY1VAq3/FkbzyjqPzgi5fX4bR"
    "PHaPy22jOCNkWk7NKvV67nYM3UnuyinH9ziCvuAOpVvMqzHWrf5STu2vhlDpMZaOYy34G3"
    "sOtTfojuqQ+1U8J9Dxhd1i2ReX8c9jOSiiZlr/S1x/xKv9J7y3yC0CMY7B65xBGPU5DwCl"
    "fQYm6KEeBj8qNhaMo8hF19LoN2YAK4JhBHeOoRF9TF30lbI3iMKEQFmfwrnQvz4mv4bGW/"
    "DcK2MDrkVMFX+noQnRECSbpwHV5+D5hXWiS/ZYsABEhARm2uIfWTCxVfMim6eds0u9iIay"
    "uydVM3iuaI+1LeRSpht4fmU3ivFJCuTNJNBHaXm7vNd3yQnjt+ffzm+O3R6XGclRtfqUvG"
    "LSbeKoNpy8e4pJawFjDnxNSuUyOw09+sAPadWMSrSLWM2BDArjNGz/95l7FDC2eKZKLoou"
    "75g0aUX/Cd+AWZTBPH6KjmrKRSc6/VHDkMHfScE1W7UX3WM1vQ1pljaRm166RqCKoagr3A"
    "d70agsn2XWF52ADCw099TC+KvdoX/ezTn7GL7QouNd08qmNSXZ9qDvRsHqAOvQUKLlCeGE"
    "jPgGd8wpZPICgcjiYcyUue8Mxgn9MOykHDpYC1QYs5oeIz8ItwhMQL2AzlBGwM2ZO5BnF/"
    "LA1Y3+3spRynmBTaoDJZLXkZli5LWNA6pjJRhJYwW5ugKlVRbGjbRVHs0hp3NWmupZXtFO"
    "FWwQHJJ7wN+xMLDALhXRM/sHq2QTvqr8DuAHbV5sdPFsNttz+mIDMo9/vjzZezy3P08+fz"
    "Dxe3F+HBybG/LRvhkrhgRsbZ5DKftyBer+1ct0RCOW31TltoD63pTAiTddi+RHJD9amKSg"
    "h7uQ/RxH1oUYRcwiOgBLP9EN2nKMV7NDeFgDDK36N7meIgBjOfTG8ZnSMH4QdALILdL4Mj"
    "yIJwDy1c8cxH4QnBhOVVyHc0N0R0TGAOmRWL7h3fnYWziIFm4G6AtxEEfLoEC0/jvTwkB5"
    "otMvWCEFH49EDk1yVQJt1Ajkl0OZn8o0u583VjKUDXq4IoYMlNTZmEX6wzZzJK85mhnvx6"
    "swYjNJ8xTRV0mjBmZVSASi8DVFRAxVb9O2EfeH6rupyJxAAx3nx2KfeYo7lE/FZeXhmKMY"
    "tgWoV1Xjhfl0hIbwv0+MqO6xLd3FxmXL2zi7wv9+Xq7Fyo4ces/1GMxrKZMPgCrFrc4Fmp"
    "IYSv7CKSndGpWZKJUU1dJBKDWEd2Tl6wsCJZU7xjgSHc0btGe4pNyy+raFaNd0pEIa5C4F"
    "TMTHQpb3+63dSclVSRUX3WsipOP3QN5xm8tpouk1ca77PGVVTr96HnmEtvq+WMoNJxn3Vc"
    "2DFoSmsXBNWubc6PUUHhGwY0s8fUFNGM0BqQPp81SIXZ9y5iQ4XZ7yLMPrtvvSbMheoYA8"
    "W58B5X+Qy7zWcovuE2gGzj4K5+vtZW4pp5q2eAFd8AXX+5vNxjfNcdnlWHeIWNo1VJIh6e"
    "NU4REX1T6Rk4yMRIHTY1gjI3llhL4+o4MsoJPpXlfKw7XNskDpVeodIr+rW8q/SKoW0qqn"
    "h0FY++Z5uln/HoV0T8Ov0Me/q8wmjJ9ai1XGzZV3uAzk0L/0K0uPgplC0sYojviKT0OxQ8"
    "ithF8gi+0ACRJ2X69AeOKFglHCLkxG0VZpq+R2IKJjuZBrEd5onGJZLjuuVx6jubuc4qEo"
    "MFVfvCz/J7wM2iTKVnYSqB/lrBHwoMqZLeTlSQQB4/Ii1M1LTMIKyoHRSCNswZ4SWURN2B"
    "qomMOkw1b642PsyWmWG13SzulUtKIjCkVWVj9TkdvLQYbntAcyKk7uSud7KK5+yijWcXSa"
    "A8bOVhbxfTZ+1h3/q2Ld4ztT52qs+ogZfNZXezqZ/9C2Q9Q6a0HIcjDqXp2VSWZHoky3cI"
    "IjHDwk4PS8Q94owQ5MMSW/QGmt8mmEY52VOTQjZ2YHWMwnL7RRd7V5NuonCUjEQNaNYV+c"
    "N5BWgxObuJXGLlt6stjiFscaSep+LLq7rSTlasY7WdvsFdg+4myu1IzGDxbLeaZMSG5Dbu"
    "mIyyTdrhRs9IqapSDW5zWLM64JyWUjg3wVnYXF2AzogppBsgLU3Ydot2LKIW7M4LNhW4Bc"
    "5EO+yzckoBnRWg2CLFFm0X02fKFgnYPxFsVAeQRq2jVRGkc9GxITV0NydhdT0QioM/f+BI"
    "TEGogSw24yPxr/5IDCReP6aFdGbbpodk0AMuxENwNMdP4gNDM+wUaaFtTygPeoxYGvL7vW"
    "SS7sWg4SeXpAsLFoaamU+EIuZ76MUr9L9iUErQkniVNcqbRmn0ZdXbK/WzTupSNZWTKLvd"
    "Gz0rt7s3+qtBvc7DJ6sl+5AIKdw74r4v3qdnXtp+0K+K0aiDfh9hGs//ni9Yu22MsxWW8Q"
    "0ld0z8s3W7uA9v3c1axWtZupdsVhd2nG6utXXhNdIq4HhCs1G/YoAo8ncxN/W5sDSpR6gX"
    "nGMjz+fGRSsRqka7RCdQzqQki2o7c9Rtc6qg4f6tW3UWq4pgVRGsfXC6thX3Z5m0rE5ptV"
    "Ea9R8Srbqx+NXAZG/tYqWkhgSrYqt7togotrpPdvnO2GphpF+KZbvahI9aV1rw8erfLGEQ"
    "uqdpY7CvS/P0oCFnVZcnAq494soEP2WW92dtV7l8e1dByrYhT8Qqgn5rY8uqNm0ioSEBfz"
    "R+cxpDDR/qwL29mlxelnLx3cp2ZgRVtk2vs21swnl4NFhWxdUFRFIig6AOVAmRvsGunIDv"
    "0gk4s9hDhQcQNdWa/w+iU+NaZ1PTIsik0igPOfSXYt2ETB1iIO6Je2aEgHin0UmRt58mL8"
    "cnp8FBjzyo6TFCDpxLH9WYDCJKfAeSfQkcXV9WFm2HM5e6EpkionyOxcjKp+iTQVvjUwTa"
    "Kmig5qy9WGIQ7+oszX963IDlPz2uJPmhKXfWnvkfosXcfAvfLSM3JE9ixy6cSvLvZKc+N7"
    "dDFQxXBcN7ahs3LBi+pxoAcLJoVe5/1FZrJMuzSRtbyTCFEVPaT8SVaeyH6B4YbC38fI8Y"
    "tZZo5rIFfxd1imOgIUaawrnpyAf71luYemm14G1OtdoOlljWJvevewx7AHzLg9jXOZw8nF"
    "AdT773BbrOpFfHk285aif1zQowV5OcOTF1/mp7nlOdnb2zChlRkf8syH+7vbkuBznqn/eS"
    "TN1D/xXvYP4cHdYaWAGJ+vs7fyvnFnIYoHB+dsouKYJfnfqbE9sdWfB6Wzf4hkPUFAfQaQ"
    "1/bhyA7xgd1ZyVVGrutZrV8YXqsL3+Aqu4sz1wZ+oMuC7gNjgDbo+k5D8Ci7aOm0x1Ga2k"
    "KCMTuUUsr2nbvhwEceIBibgQt9AcCnwuTG8ud9LlueEe0T3fDbfMbfxIOOTHifvnKT6ILA"
    "zVheu6+CVo6jK7PNx3F5OW0pcSJWiNfIla9jKJ+OhEI8ba0MIIm2b0ZX49iKINWs0IYR2K"
    "v+wrf9neAd6L7/uMMrTEm87zS+icmiCPWGKIrPBpE1I47+GkOOHTQpCHhEsT6yBvRwoXBI"
    "dAT+6aFlaE/L6QVyzxHljioC5UK9xTIgr6NaBXPHKnpee5EYwQT6213UbPCA3hZbKDXUaJ"
    "2ZS5dtkDtQLqRGx4YB+NG2B9NK6EGppyFuqu47x7je+gwrz7hvR+Ct5hV/zlEVfrULe8RF"
    "hpoqsmPEI5c9u5BYnIWuZpz/DftXWaZoXbwJ+XUzrorgOTOn5Z4c1q9BMJhXt33JnvtQU+"
    "JaKQX98nfli2jB4oCKrwgdJ413aopmUUoP0olPB8VggVNKSChnqP7zaChuLYhzURTqfMDR"
    "Td9BumvNhHbsndAKyN66f0c6ntWj5FTI+uv1xeHlRYXBtAdvhRbgU7s1ehbufUkAcvVIS5"
    "pZtHdSFuJOzYKhE3iB3DlC8g2dVxCXg+YZLsXLyl7mUvLuPIILAM6sOI6wS5xLFMHfPgKs"
    "SXLeayCI08UrvktO0tzydPVQrvX5nUK/N5g4A5SN9dIn2O6SwKlvM5VK/HehBNFw0+ik9w"
    "gqvCPdSZHRTepIiJQTz8SGg0kMm/0iAz2CU6cw1iiN8AB0SJH3wvWsUXhJ8KX4+KSyjSDz"
    "R5LPwdkLnzPjxEypRNYbWd4GuJbxmo7YEE432lUo4jyha9SUOO77wdZiInc6pk5L0bryOk"
    "kpGbhJ1tIxlZhfap0L5+eLjbqWwZvpqLwFdu5qVFVDRwWTIso1Nz1oYpTyRU9NgaTHlinx"
    "bBr9uezsoNJrt71xECgW3e5r5Piagdou73vcPckoCMmnMI3aGFYGxs7QYnuY2xF/Ufgu2x"
    "7RAuFdzbyex7bsG9qkjEd6FmVSRC7ff2F1i137vn/V5VJOLZF4mItsbuXDydmvqKDbRUr1"
    "GTfTTNCwSabafdwYbVHKrFBttF0Sg/cBSOE2wsMUriGrOwnVSyU7beUKUbQtEQ0KFRbYew"
    "k9Z8IyaCK12HbhM7MuokiM3yIdU7NUGVkRZ+eiKgaNYSVz1+MtqZSzkxZS3lYE0tTS1QzU"
    "opUOtN0PT7Yk37KBe/8jzRXWkj5R7a1VFxlTVuugUcZutgDRTk7DPcK1P0g2USYWKyR1JV"
    "rizXo9YE1WVfYcOJzi2KlQViSIqN0CNxPPQGGXjJ5blejtCBbjpYKCA54gtqhDEn3Fwqr0"
    "a2kVFXhynFA0ndOqn9Ljlzvbma4l9XmKsZaLX6cCVlp/bSTs3cKU33QTJCA4x7OW5SnOG4"
    "ujbDcaE0Q+YZbApzRmiAMG9+0ylY3VpAHAsMEN7tHNdhzkjZpumZSbG7LAc5kcmhHFdqeG"
    "Y4163C4S5+vKkjwDy7uJ58/rU8cOusZNf/7Ne780khdIuLn9A23S4tpNw0tUP9PW5dqp02"
    "tdPWUx+8dqdtz4d9T4hr6vODEuc7bBnVOd046bPK265GtcTPzfmtrZzK78WjXJNz71BKut"
    "q+rq4lPQQLe3xy0sDCFr1qqvid5C1seKhaIBx2HyC6r181ccNFr2r/5VXBERczeqSMi6+N"
    "149EVMB+y8Dlgr2wy5fZn/8Pj8miVg=="
)
