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
CREATE INDEX "runs_purged" ON "runs" ("purged_at");
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
    "swYjNJ8xTRV0mjBmZRr+wujOavZrZO9N+ZQq/GXj4S8qXGOr3qOwPjy/VdXPRGKAGG8+d5"
    "V7zNFcIn4rL687xZhFMK3COi+cr3okpLcFenxlx1WPbm4uM47k2UXeU/xydXYu1PBj1rsp"
    "xnrZTJiTAVYtbvCs1BCCY3YRJ8/o1CzJ86gmRhKJQawjO6dGWFjvrCnescAQ7uhdoz3Fpu"
    "WX1UurxjslohBXAXYqIie6lLc/3W5qzkqquKs+a1mVvh+6hvP8YFtNl8krjfdZ4ypm9vvQ"
    "c8KnttRyRlDpuM86LuxHNKW1C4JqTzjnx6iQ8w0DmtnBaopoRmgNSJ/PGqSC+HsXD6KC+H"
    "cRxJ/dFV8T5kLtjYHiXHiPq2yJ3WZLFN9wG0C2cehYP19rK3HNvNUzwIpvgK6/XF7uMXrs"
    "Ds+qA8jCxtGqFBQPzxonoIi+qeQPHOR5pI6yGkERHUuspXHtHRlDBZ/KMkrWHa5tiohK3l"
    "DJG/1a3lXyxtA2FVW0u4p237PN0s9o9ysifp1+hj19XmG05HrUWi627Ks9QOemZYUhFl38"
    "FMoWFjHEd0RS+h0KHkXsInnAX2iAyHM4ffoDRxSsEg4RcuK2CvNY3yMxBZOdTIPYDvNE4x"
    "LJcd3yKPidzVxnFYnBgpqA4Wf5PeBmUabSszCVQH+t4A8FhlSnbycqSCCPH5EWJmpaZhBW"
    "1A7KTBvmjPASSqLuuNZERh3VmjdXGx+Vy8ywlm8W98olJREY0qqyseqfDl5aDLc9/jkRUn"
    "dy1ztZxXN20caziyRQHrbysLeL6bP2sG992xbvmVofO9Vn1MDL5rK72dTP/gVyqiEPW47D"
    "EYfC92wqCz49kuU7BJGYYdmohyXiHnFGCPJhiS16A81vE0yjjO+pSSHXO7A6RmEx/6KLva"
    "tJN1GWSkaiBjTrigTivAK0mJzdRC6x8tvVFscQtjhSz1Px5VVdxycr1rGWT9/grkF3E8V8"
    "JGaweLZbTTJiQ3Ibd0xG2SbtcKNnpFTNqga3OaxZHXBOSymcm+AsbK4uQGfEFNINkJYmbL"
    "tFOxZRC3bnBZsK3AJnoh32WTmlgM4KUGyRYou2i+kzZYsE7J8INqoDSKPW0aoI0rno2JAa"
    "upuTsHYfCMXBnz9wJKYg1EAWm/GR+Fd/JAYSrx/TQjqzbdNDMugBF+IhOJrjJ/GBoRl2ir"
    "TQtieUx0hGLA35/V4ySfdi0PCTS9JlCwtDzcwnQhHzPfTiFfpfMSglaEm8ygroTaM0+rLq"
    "7ZX6WSd1qZrKSZTd7o2eldvdG/3VoF7n4ZPVkn1IhBTuHXHfF+/TMy9tP+hXxWjUQb+PMI"
    "3nf88XrN02xtkKy/iGkjsm/tm6XdyHt+5mreK1LN1LNqsLO04319q68BppFXA8odmoXzFA"
    "FPm7mJv6XFia1CPUC07Jkad/46KVCDWpXaITKGdSkkW1nTnqtjlV0HD/1q06i1VFsKoI1j"
    "44XduK+7NMWlantNoojfoPiVbdWPxqYLK3drFSUkOCVbHVPVtEFFvdJ7t8Z2y1MNIvxbJd"
    "bcJHrSst+Hj1b5YwCN3TtDHY16V5etCQs6rLEwHXHnFlgp8yy/uztqtcvr2rIGXbkCdiFU"
    "G/tbFlVZs2kdCQgD8avzmNoYYPdeDeXk0uL0u5+G5lOzOCKtum19k2NuE8PHgsq+LqAiIp"
    "kUFQB6qESN9gV07Ad+kEnFnsocIDiJpqzf8H0alxrbOpaRFkUmmUhxz6S7FuQqYOMRD3xD"
    "0zQkC80+gcyttPk5fjk9PgGEke1PQYIQdOvY9qTAYRJb4Dyb5iFLPkxMydzlzqSmSKiPI5"
    "FiMrn6JPBm2NTxFoq6CBmrP2YolBvKuzNP/pcQOW//S4kuSHptxZe+Z/iBZz8y18t4zckD"
    "yJHbtwKsm/k5363NwOVTBcFQzvqW3csGD4nmoAwMmiVbn/UVutkSzPJm1sJcMURkxpPxFX"
    "prEfontgsLXw8z1i1FqimcsW/F3UKY6BhhhpCqeyIx/sW29h6qXVgrc51Wo7WGJZm9y/7i"
    "HvAfAtj3lf5+jzcMJVh5+3MvXV8eSbjjdXx5NvOWon9c0KMFeTnDkxdf5qe55TnZ29swoZ"
    "UZH/LMh/u725Lgc56p/3kkzdQ/8V72D+HB3WGlgBifr7O38r5xZyGKBwfnbKLimCX536mx"
    "PbHVnwels3+IZD1BQH0GkNf24cgO8YHdWclVRq7rWa1fGF6rC9/gKruLM9cGfqDLgu4DY4"
    "A26PpOQ/Aou2jptMdRmtpCgjE7lFLK9p274cBHHiAYm4ELfQHAp8LkxvLnfS5bnhHtE93w"
    "23zG38SDjkx4n75yk+iCwM1YXruvglaOoyuzzcdxeTltKXEiVojXyJWvYyifjoRCPG2tDC"
    "CJtm9GV+PYiiDVrNCGEdir/sK3/Z3gHei+/7jDK0xJvO80vonJogj1hiiKzwaRNSOO/hpD"
    "jh00KQh4RLE+sgb0cKFwSHQE/umhZWhPy+kFcs8R5Y4qAuVCvcUyIK+jWgVzxyp6XnuRGM"
    "EE+ttd1GzwgN4WWyg11GidmUuXbZA7UC6kRseGAfjRtgfTSuhBqachbqruO8e43voMK8+4"
    "b0fgreYVf85RFX61C3vERYaaKrJjxCOXPbuQWJyFrmac/w37V1mmaF28Cfl1M66K4Dkzp+"
    "WeHNavQTCYV7d9yZ77UFPiWikF/fJ35YtoweKAiq8IHSeNd2qKZlFKD9KJTwfFYIFTSkgo"
    "Z6j+82gobi2Ic1EU6nzA0U3fQbprzYR27J3QCsjeun9HOp7Vo+RUyPrr9cXh5UWFwbQHb4"
    "UW4FO7NXoW7n1JAHL1SEuaWbR3UhbiTs2CoRN4gdw5QvINnVcQl4PmGS7Fy8pe5lLy7jyC"
    "CwDOrDiOsEucSxTB3z4CrEly3msgiNPFK75LTtLc8nT1UK71+Z1CvzeYOAOUjfXSJ9juks"
    "CpbzOVSvx3oQTRcNPopPcIKrwj3UmR0U3qSIiUE8/EhoNJDJv9IgM9glOnMNYojfAAdEiR"
    "98L1rFF4SfCl+Pikso0g80eSz8HZC58z48RMqUTWG1neBriW8ZqO2BBON9pVKOI8oWvUlD"
    "ju+8HWYiJ3OqZOS9G68jpJKRm4SdbSMZWYX2qdC+fni426lsGb6ai8BXbualRVQ0cFkyLK"
    "NTc9aGKU8kVPTYGkx5Yp8Wwa/bns7KDSa7e9cRAoFt3ua+T4moHaLu973D3JKAjJpzCN2h"
    "hWBsbO0GJ7mNsRf1H4Ltse0QLhXc28nse27BvapIxHehZlUkQu339hdYtd+75/1eVSTi2R"
    "eJiLbG7lw8nZr6ig20VK9Rk300zQsEmm2n3cGG1RyqxQbbRdEoP3AUjhNsLDFK4hqzsJ1U"
    "slO23lClG0LRENChUW2HsJPWfCMmgitdh24TOzLqJIjN8iHVOzVBlZEWfnoioGjWElc9fj"
    "LamUs5MWUt5WBNLU0tUM1KKVDrTdD0+2JN+ygXv/I80V1pI+Ue2tVRcZU1broFHGbrYA0U"
    "5Owz3CtT9INlEmFiskdSVa4s16PWBNVlX2HDic4tipUFYkiKjdAjcTz0Bhl4yeW5Xo7QgW"
    "46WCggOeILaoQxJ9xcKq9GtpFRV4cpxQNJ3Tqp/S45c725muJfV5irGWi1+nAlZaf20k7N"
    "3ClN90EyQgOMezluUpzhuLo2w3GhNEPmGWwKc0ZogDBvftMpWN1aQBwLDBDe7RzXYc5I2a"
    "bpmUmxuywHOZHJoRxXanhmONetwuEufrypI8A8u7iefP61PHDrrGTX/+zXu/NJIXSLi5/Q"
    "Nt0uLaTcNLVD/T1uXaqdNrXT1lMfvHanbc+HfU+Ia+rzgxLnO2wZ1TndOOmzytuuRrXEz8"
    "35ra2cyu/Fo1yTc+9QSrravq6uJT0EC3t8ctLAwha9aqr4neQtbHioWiAcdh8guq9fNXHD"
    "Ra9q/+VVwREXM3qkjIuvjdePRFTAfsvA5YK9sMuX2Z//D1DSv4o="
)
