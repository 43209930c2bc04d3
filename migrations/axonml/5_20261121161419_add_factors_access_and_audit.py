from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "attempts" (
    "key" VARCHAR(64) NOT NULL PRIMARY KEY,
    "failures" INT NOT NULL,
    "last_at" TIMESTAMPTZ NOT NULL,
    "blocked_until" TIMESTAMPTZ
);
CREATE INDEX IF NOT EXISTS "attempts_age" ON "attempts" ("last_at");
COMMENT ON TABLE "attempts" IS 'How often somebody guessed wrong. `key` is an HMAC of what they guessed at, so it tells no address.';
        CREATE TABLE IF NOT EXISTS "audit_events" (
    "id" UUID NOT NULL PRIMARY KEY,
    "at" TIMESTAMPTZ NOT NULL,
    "action" VARCHAR(64) NOT NULL,
    "outcome" VARCHAR(32) NOT NULL,
    "actor_id" UUID,
    "session_id" UUID,
    "api_key_id" UUID,
    "workspace_id" UUID,
    "resource" VARCHAR(64),
    "address" VARCHAR(64),
    "request_id" VARCHAR(64) NOT NULL,
    "seq" BIGINT UNIQUE,
    "hash" BYTEA
);
CREATE INDEX IF NOT EXISTS "audit_events_time" ON "audit_events" ("at", "id");
CREATE INDEX IF NOT EXISTS "audit_events_actor" ON "audit_events" ("actor_id", "at");
COMMENT ON TABLE "audit_events" IS 'What somebody did or tried. Refers to nothing by foreign key: it outlives everything it names.';
        CREATE TABLE IF NOT EXISTS "passkeys" (
    "id" UUID NOT NULL PRIMARY KEY,
    "credential_id" BYTEA NOT NULL,
    "credential_digest" VARCHAR(64) NOT NULL UNIQUE,
    "public_key" BYTEA NOT NULL,
    "sign_count" BIGINT NOT NULL,
    "name" VARCHAR(250) NOT NULL,
    "transports" JSONB NOT NULL,
    "aaguid" VARCHAR(36) NOT NULL,
    "backed_up" BOOL NOT NULL,
    "user_verified" BOOL NOT NULL,
    "discoverable" BOOL NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "last_used_at" TIMESTAMPTZ,
    "flagged_at" TIMESTAMPTZ,
    "user_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "passkeys_user" ON "passkeys" ("user_id", "created_at");
COMMENT ON TABLE "passkeys" IS 'A WebAuthn credential. `sign_count` moves by compare-and-set; a regression sets `flagged_at`, for ever.';
        CREATE TABLE IF NOT EXISTS "pending_sign_ins" (
    "id" UUID NOT NULL PRIMARY KEY,
    "token_digest" VARCHAR(64) NOT NULL UNIQUE,
    "verified_hash" VARCHAR(250) NOT NULL,
    "failures" SMALLINT NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "expires_at" TIMESTAMPTZ NOT NULL,
    "address" VARCHAR(64),
    "user_agent" VARCHAR(250),
    "user_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "pending_sign_ins_user" ON "pending_sign_ins" ("user_id", "created_at");
CREATE INDEX IF NOT EXISTS "pending_sign_ins_expiry" ON "pending_sign_ins" ("expires_at");
COMMENT ON TABLE "pending_sign_ins" IS 'A sign-in whose password was right and whose second factor is awaited. Deleted by whoever completes it.';
        CREATE TABLE IF NOT EXISTS "recovery_codes" (
    "id" UUID NOT NULL PRIMARY KEY,
    "place" VARCHAR(8) NOT NULL,
    "code_hash" VARCHAR(250) NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "used_at" TIMESTAMPTZ,
    "user_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_recovery_co_user_id_713321" UNIQUE ("user_id", "place")
);
COMMENT ON TABLE "recovery_codes" IS 'One recovery code. `place` is its public first group; of the rest only an Argon2id hash is kept.';
        CREATE TABLE IF NOT EXISTS "totp_factors" (
    "secret_sealed" BYTEA NOT NULL,
    "last_step" BIGINT NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "verified_at" TIMESTAMPTZ,
    "enabled_at" TIMESTAMPTZ,
    "last_used_at" TIMESTAMPTZ,
    "user_id" UUID NOT NULL PRIMARY KEY REFERENCES "users" ("id") ON DELETE CASCADE
);
COMMENT ON TABLE "totp_factors" IS 'The authenticator app of a user. `last_step` only ever grows, so that no code works twice.';
        CREATE TABLE IF NOT EXISTS "webauthn_challenges" (
    "id" UUID NOT NULL PRIMARY KEY,
    "purpose" VARCHAR(16) NOT NULL,
    "challenge_digest" VARCHAR(64) NOT NULL UNIQUE,
    "rp_id" VARCHAR(253) NOT NULL,
    "expires_at" TIMESTAMPTZ NOT NULL,
    "pending_id" UUID REFERENCES "pending_sign_ins" ("id") ON DELETE CASCADE,
    "user_id" UUID REFERENCES "users" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "webauthn_challenges_expiry" ON "webauthn_challenges" ("expires_at");
COMMENT ON TABLE "webauthn_challenges" IS 'A challenge somebody was given. Deleted before its answer is verified, so it is good for one try.';
        CREATE TABLE IF NOT EXISTS "grants" (
    "id" UUID NOT NULL PRIMARY KEY,
    "kind" VARCHAR(16) NOT NULL,
    "resource_id" UUID,
    "actions" JSONB NOT NULL,
    "effect" VARCHAR(8) NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "created_by_id" UUID REFERENCES "users" ("id") ON DELETE SET NULL,
    "user_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE CASCADE,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "grants_workspace" ON "grants" ("workspace_id", "created_at");
CREATE INDEX IF NOT EXISTS "grants_user" ON "grants" ("user_id", "workspace_id");
COMMENT ON TABLE "grants" IS 'What one member may or may not do with one object (`resource_id`), or with all of a kind (null).';
        CREATE TABLE IF NOT EXISTS "invites" (
    "id" UUID NOT NULL PRIMARY KEY,
    "email" VARCHAR(320) NOT NULL,
    "role" VARCHAR(16) NOT NULL,
    "token_digest" VARCHAR(64) NOT NULL UNIQUE,
    "created_at" TIMESTAMPTZ NOT NULL,
    "expires_at" TIMESTAMPTZ NOT NULL,
    "used_at" TIMESTAMPTZ,
    "revoked_at" TIMESTAMPTZ,
    "created_by_id" UUID NOT NULL REFERENCES "users" ("id") ON DELETE CASCADE,
    "workspace_id" UUID NOT NULL REFERENCES "workspaces" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "invites_workspace" ON "invites" ("workspace_id", "created_at");
COMMENT ON TABLE "invites" IS 'An invitation to a workspace. Of the link''s token only the SHA-256 is kept; `used_at` is set once.';
        ALTER TABLE "sessions" ADD "aal" SMALLINT NOT NULL DEFAULT 1;
        ALTER TABLE "sessions" ADD "proved_at" TIMESTAMPTZ;
        ALTER TABLE "sessions" ADD "amr" VARCHAR(64) NOT NULL DEFAULT 'pwd';
        ALTER TABLE "users" ADD "must_change_password" BOOL NOT NULL DEFAULT False;
        ALTER TABLE "users" ADD "webauthn_handle" BYTEA;
        ALTER TABLE "users" ADD "deleted_at" TIMESTAMPTZ;
        ALTER TABLE "workspaces" ADD "deleted_at" TIMESTAMPTZ;"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE "sessions" DROP COLUMN "aal";
        ALTER TABLE "sessions" DROP COLUMN "proved_at";
        ALTER TABLE "sessions" DROP COLUMN "amr";
        ALTER TABLE "users" DROP COLUMN "must_change_password";
        ALTER TABLE "users" DROP COLUMN "webauthn_handle";
        ALTER TABLE "users" DROP COLUMN "deleted_at";
        ALTER TABLE "workspaces" DROP COLUMN "deleted_at";
        DROP TABLE IF EXISTS "webauthn_challenges";
        DROP TABLE IF EXISTS "attempts";
        DROP TABLE IF EXISTS "audit_events";
        DROP TABLE IF EXISTS "grants";
        DROP TABLE IF EXISTS "invites";
        DROP TABLE IF EXISTS "passkeys";
        DROP TABLE IF EXISTS "pending_sign_ins";
        DROP TABLE IF EXISTS "recovery_codes";
        DROP TABLE IF EXISTS "totp_factors";"""


MODELS_STATE = (
    "eJztXftz2za2/lcw/qXJDONJZMfJJnt3RnbdjXeduGM72+3WHQkmIYnXFMDyYVW32//94o"
    "DvpwjqRTGY6aQWiUNI3wGBcz6cc/DHEf6d0bl1PLTNf5LlLVscfUB/HFE8J/yP4k2NX7Pt"
    "5BZc8PCjFbS2zdETWbqi1aPrOVj3+PUJtlzCLxnE1R3T9kxGofWQouGPV4gLHKOxxdiTb4"
    "+R6SLTc5HtP1qmjmzseB8RmyBvRpBLdId4iFFrKT7ffRq+Grw9A5EnYnvH0KvBdN6tSafb"
    "6sCn5m8+GXlsSngTh3fzy6/8skkN8jtx4eMfRxOTWIb4+8h3iTMyDZDkz8YeMUbYOwIJ8r"
    "vtENflWLjRQ2LQQxhHIC0AXtrixpGQ47CKD3+CjP00Et1ltBZ0KK6PItmvX6++/0G0BJge"
    "Rzqz/DlNWttLb8Zo3Nz3TeMYZODelFDiwJdPKZP6lhXqPboUYMMveI5PYlCM5IJBJti3YE"
    "gc/XXiUx1GAhI9wT+nfwu/WqrZaPTl5n50d3k/Gh0VRhB8hZzOw0s6R5XDZFIPwP3jz+C5"
    "CSDi6hF0cPFpePvi5OylgIC53tQRNwVcR38KQezhUaLSBGXx/wLOFzPslOMctc8hzb9oG4"
    "yjCwnIyWsWwRcBtAVIj+b495FF6NSb8Y+Dt69rMP7X8FbAzFsJnBmfF4IJ40t4axDcA7wT"
    "fIM3VgbhRGIzGK8exztD+M1ZA4DfnFXiC7ey8Aaz3WiG3VkR43OTYmdZjnJOMAf149Ij7g"
    "EO6Bp4z69vzuHJc9f9zQrxPr/6Mrz9+cXn4b8F5PNleOv65svfo/bp+eT85/vLYV4DOrMD"
    "rLLg/+Pu5ksF9LFEDnXD1D30X2SZrtcv7AGLDPbRkI6hT432ixLg4QHnOeBTS3EB/O/5Hc"
    "+ck3IFZCXzSghFj6M/+qWK+6vPl3f3w88/ZvTx/fD+Eu4MMq9BdPVFfkaKH4J+urr/hOAj"
    "+s/Nl8u82uJ29/85gu+EfY+NKFuMsJHGJLocXcqomZtYJn9cCzVnJTeg5nDhUFrevJYt7H"
    "pgKbd5nfOyStNd1rRDntlTKz1nJZWWu6zllMvc1INNiWzSje2uUld6rQmcC+Y8uTbWiSSm"
    "eTkFLAcWGJfJUykbEHE1WXx/YA4xp/SfJPClrvj3wFQvowFCpu0rf0zIsx0mqsnVZJp08C"
    "JmqdIvK//5BrGIF7j1w7uL4feXR+WjdwPQ/hQ9q9/45l/ccpBhJD9i/WmBHWOUGdJwhw1Y"
    "7krctnhrPpjnr2CKpwIh+CliIQhUECmpgmZO39bqiGYzpezVRPMP/K6L8CPzPeTNgAAOxT"
    "8iRgly2EJDpoHeHKOxSzzfHhn8MrcVBFnsCkZYJwhTA1HyTBzEF0XsEKNIOG+zo9XEsxQd"
    "fDfHlnVFPQlKGIZci9dmvyTaFL7Cq5PBu7P3/K74hvDhXc0acPd5eH199eV+Bf3rMObxG3"
    "RKHNsJsWlKVJbJtqIsO2aHZjnLs9MGnOXZaSVnCbfynCW8NR635Wkr4rIo3ZK97Bju+yAv"
    "0xOYrD9WEFYuWddcsoKpux+L4TOZPxLHnZl2hc2QbVBrNczjpg13qO9n2EMYgcWKHonF6N"
    "RFHuNXYhtLE6s1dtGCNy0aBG0eULLQ/xJ7F4k9/Os6q/+5OV177Q/ft64v/X8ZDE5O3g1e"
    "n5y9f3v67t3b969jQ6B4q84sOL/6OxgFmZewiZVgSW0SR+17uEm8+S1MRRUpqqirwNZQRY"
    "rU2BKpkZ8bFB+3CT5uP4bfXRAcV2H1pe7WmnxuFGLXyN67oQRZbGrSYzR2yIS/0DOOn089"
    "4ozRnD0TFz0ukc7mNnbIK264veKOzMek7RNZCionCCYUPX/nok+fhxcQhKghQnVnaXtl1N"
    "Huun6gD3SMsSWaDxCe8C6Qt2AcFN1jjquhMZ7zTgFx8bw5enH7wwV6/+bdmYbES8i/C/EW"
    "hNCXvLHt8G9nRCzWYkaoCLCcMcvgD4YdVhQ04fcYPG+J+E/YWTBlNAJUMOXel8RaOzk75u"
    "VclhLhzXCXTabw1z3wX4p64JOGHLmWE1RRgVpLYi0EsmWcQ1ZWBah1jldTcYjfnJpFlJnL"
    "zaW2EWopWaXqTqu6QyGnSs1bjlHjfqvcrm9Wqn/7vVvJAuJaAddOBueUSP9A3vymOsZWEd"
    "36+JBQZHdOVhm8b9aAdN2wkBR68xJntWZszsvc011v79gLo8MDMmaUZNfQjKAKKejyCko4"
    "hG1UnJZTGu64hkfcS3U5AhLzY1aqf8v3yaDBbHkyqJwt4ZbaBFdh/WobseE2IlcT/3nVpU"
    "2yDbTazcSgqVyJk0tj8Pbtm7/ALhyysemgCXMQ1nXuoCARiup+FJt2tmM+81GBZtiawEZa"
    "vGGHfAobaVg8gf9lwlbaxGFzIQaRxGHhktICKDvufo0o9aeyOax6oXgqnb8Ov9DDphaI6q"
    "22UNWjWMVyGz2l4mq7R2u53RMUIhrxuVRSDRk5hX9b/CnzRo+Ez4ol0Vj1rkhWUjG2nfZG"
    "+AJlOi33VNOSyufsmpY7kqgQWfglJmbK+K82LsF+bmpVIpu3ZRAqRubYDCK5XI9PRAbSsU"
    "teTSD2yvjIjbbADjeCDATupCxdyDXAkIqIFiYfyr4XPgxbCCyGEiNy271tOLNRxWZtOjZL"
    "qF2KxIkEemidN9ni4q1q7PPCFpcqJLjdLUQbu+6C8Qm+PGW0GuiCYP/4yK0ArpKetpj0pI"
    "LGemvKFoLGREZA26ixtLByW7qsa8N0AeQ273ROVOm503oO/KM2as5IKi13Wctzn0+++gzT"
    "KRlFFmQJt8u40YNpubqrHpGnefkzdrlMl/MRG2F3b26uM/o9v8qlqnz5+vn8kptKQrG8kR"
    "lsLxYDshbkkatnBiVeqFFmh9ax6iXCqkJMS2Y9/A2jtmnlVfIqZKE+ZKGAWxF0lWZeHsRQ"
    "NeQyEQ23fIW4vbq431dIQ0YXJXRzXlfVnHP8MxsTzw5jczguBTJ82YIG0QTII3j+AUHJui"
    "ViwOEKxjdV8IZRUkYsr/k0RRx3YCLSaohj1/KnMjxQ1L53tPGbwfsmNNDgfTUPBPcUbbxL"
    "FlMRbW2mi4Nz15RT3lctdyQyYOh5ZG57btXZeqnbtdYaDhs2s9U+cZuJTTxCkcvm5JEZSz"
    "T1ietCHRaHW1LHaBzVjME0KBTDLTGoQhjUaIkaY0/jT+AmGrfLLMtFlKEwv65o0e2oT8my"
    "MYIMb3DqXggvZGgK3CXrxJRWzKiJXy2tk3H4ps6m0sGqrcoJNi3fKTs4qzJfMS2y36TFzR"
    "aHGbw5fXf6/uTsNM5ijK/UpTIWSbPoHZFcAVNiysrp3PqXVvCjxXQ4AcenXlksT72aC8LK"
    "1umarjti6/yIXfepMtcmdbfW0rGDdo1ZqZ/I4xBYe8QdL4PwQYotOGLBnNKgJFhdBT2MHD"
    "INbQI4g8FF44mFp9OgpJ0mOCngosr4q531u4tCeRHoqlBepzm1ZKiVbqfUbW4VRFXWiNZy"
    "bysFpWFOiStVB6ZUWDkCFY5AIVVKujRhVk4N+raDPlnYyvCvLs+ZlVOVOdtV5lR0/3bpft"
    "4bdW3meFIncmel1Knca5zKjfHUl8sBTyR6OMhPmkSOn1RHjp8UIsfBxQMv3i6Zvuui0TJy"
    "OwxBi6/sePncXCyacMS4E2fyfmRjAAuyCnkJ5A3T1bnv7QgU5IDPiyrcJXBXm+ZtFHAQFG"
    "Nhv4DPUG0UnZdVZHKXNZ2QkrJ6zkoqLXdZy6qInCoi14H4644WkfuRUIP/PCgVd1V1IlWh"
    "jVa7wxW0HglqzGx6PtUQQftXJoWjlFyCotQgtMAucszpzBOniQY3XcLhNlBwqpMIuVlgEw"
    "6AQt+HZToel9A0OGmczW246CKzrI7c7vrdyU5XDvxVO14wUab6TFXql+1IiC7V5lpXN9eC"
    "s8Hld3TycmozZ+VmTsRsSBflKAj2kPvbCsFdHTdXX+x/P8FzW9682UTpf8V1tJmeD843Um"
    "f6fBNqVgfNbHvJV6cm7WytV3yO4nMUn1PF59wSscG3vGBGVRJ9volWx+Y4YWMOiNE0lx4O"
    "/I7kEMgdo7FtYZ2I9CjIiA/C1tDEdFwPTR3m2x8hXUqU3ed+JmLUWkIe1dCZMjowDQQOEQ"
    "g/EbuExNlFhyXszS/x2yI6O/pVpeh3ifEIlCKxHMcCPXS7myTpV6foFxL04SWTpjcyQj3E"
    "WKXqd8YAOjgXrWXAgYo1OBz9Kq9lvbVeeS299VrumWdXeCvRrVovxeONRsG2bEMf5Z5b/l"
    "AOEZKVdAzbufzp4BJgccQDdyCC4+k9Yo8D70Bs6nLXYeGKCg4elHagTLgbSFQbQ97C1EuK"
    "gW23qzUqhXVnTtrrduB2vI/g5LiRS7BVGh9dk9RVEFV5XVrLvK74zSrTQHVaV0asNxuDO8"
    "7qUp7LN2HZxkEL8nrOiSoPpst6JrRtIf+spNJyl7Wssh/6rOm1SumscrdvKLln/J/tO9td"
    "cBc27GqvVzY7LO1/McMWsNGV5bPL2mm1ZbSjQwP0SKRxPHcskVRMhJjqqflMaCpgWpwyK/"
    "boMHUXRIRVR3ZBVCqRX5oyZojCQYwSDveyLJJ7Bz1KxnA3j6cuAVqFVHfcxbd9h0vIbTEm"
    "Ij3cANvCiXDR29CmFlGJrIpez0FeDGVz7FJOsOaIQ7ucEezDiB68PWm0pXtSs6V7kkdYRd"
    "321sDO1PQKU6TkFuOs1BqL8uG4TiuX4A5sWfQGzS7tonYT1PU9u5JZYAO4lqXh9hPg7BzY"
    "pY3qvzuYehXedXxPq/Oop9CqoRP9E2z8gvs5J/NH7qjO8RKx4H+UechgaGF6M9GCPf4v0T"
    "30YszfduY74niv8UsNmos23BQOtpyfuO7RC/hZL4s+9C46lHSh8+eVNc+FDpDOnhXXLA06"
    "9YJnum/WoSoyvO81Tqtx2mE4yng3UfseOjebd9dTc4HMWM6JKTMtVz1SvHJStTtTIqpw5x"
    "qFO8lkwlc5mfkikejhjLHpLAIVIfItECGRsh6XkutCQVCtDB2hQw7odZGAs+1x3uoYbzmi"
    "SR3fLU2J1B7bXUo8qZyIhtBK0XnJkqSY0tXQFhbwDMD8W6AvX6+v90XmXdFn06uKlUluan"
    "V0nimaNQ2KoUi0x4JC8RjCKH6vj9FNkI9umfTpOzgM/onQIB0Ert59Gr4avD2LUtI/onEY"
    "aCdS3F0CtF1Z8sluutwZpxfC3YjUU0TbXok2MsdlxzHWeM6RQA8d55NBk9Rw3qr6zItBIT"
    "XcYWUHANQEarDSqv99wHfzVKaql7mziCNFA7WZmg+OBlJhT9+EmlUli37r1yHP7KmVirOS"
    "Sstd1nInOPsDmqYVy6xY5s7juwWWeU986KECXE+I7jm4cegbpnf5TCojHLMNtDpeFEPTEY"
    "G2MsGOceKeYRoQSshRh+NVbsmEOEBQQhjijCsCDlqZBMMLPZHlB8jZY75nmc/EFeVzlkEz"
    "fhl+g1sR6ri17h7oAx275LexOD1mDEUP+Z8OEZAjn3qmJThWUePFgWqjyPa9oB4pWyA+gJ"
    "j4oM/4YGpDsQY21uqYxbSeRpHZ1SxKUpRbCofxauY205EQVdRtV6lbedNeeeYHYNMHQYEy"
    "ZGYi0UPOePNEJl8SdCZ3lH1KpIcQnwwa7XrUbHrkIU4vOk2XgbSMiiDL4ukGy7UkolkphW"
    "lujNrmiFuJsqM0I6Uw7Rxp0ktco9QLmTUrLdO/Q2s2bxao45e2XrOC8J/perKFKzJSPTS/"
    "Ng+0S34rIlxXSTUUaFVDNT+I9xsEsZcaquVHbNQVD644X6NpzeCOTRx1AG6wZHBhF2E/BO"
    "zl7zZxzHk1AZttoNURsCRu2rhiG3RmBKcjQeq241P3GI2pD6ngQcyneLqgNHXmUzhXiTip"
    "eNICybqBZwom1TKfoR4APGyMHGITzNsBPwpX0GJm8ifAx+RHw6MhZR07+sx85l8BOoBrwL"
    "/iiUccUJf7QdSBC0Y75Qsub/JAZ2yBHsJXIPttEJ4zOg1jZuErPRxF4bFAEcN1INUesVsZ"
    "F/tLdl8qQALI09yN1E8uHCzVNJhWa8IApwbKyObjUtGyXaVlw7FSQLpy8U0EdlfDfPtL8O"
    "DN6bvT9ydnp/HKG1+pW3CLi6v4v4S9GLXvoaW4laOr0lOYBMw5sf75P1sBO/3NCmDf80m8"
    "HOycWB/Artuyufz3fcZmLNQIyJiMUfN84QAVvvwN7p75ttFSzVlJpeZOqzlyGFroOSeqAl"
    "y7rGe2oNK1E9IyKvqyezs0/QFWhbVK4LteWOstn0pury7uj4rTwwYQ7n9Ia3pSrAB2P2zq"
    "rU9/xA6eV3Cp6dtaHZPq+HRkQ8vGRKpozVFwggqY/AEBz/iMLZ8g7CIoNaaJSx73zCC0dK"
    "4FDKUHFKWovbmYERoeRQH1Nl/AURQuARtDtGSOQZySEp47772U4+Sdwr0nsqwnL6GBlmZB"
    "65jKRBGjhNlqFKta8uCjB+j8QchZZOK9eDgCNB7457+cvUQXN9fX3ExBD0cXvE3FtwCBTd"
    "GldZtopQtjCYcXvp7rMaU92UOrqQBKSnIVagqABs0V6deMhxKzjAwDFQv0AuFdk0/RFNQU"
    "7ai9ArsF2FUbMD9YDMtuwUxAplcUwPc3X8+vL9GPt5cXV3dXYTHW2OcXN+ESv2BGBuLwOh"
    "/I48uGoiYSynGsdxxDm2xNh4abzf32Z5IB1aXcvBD2cj+miQvT0Hm5EYfdcXggnY2LHaNx"
    "itYco5nJBbhj8DE8tR4yRJ5NbxmVBYMQCCA3wfcQARpkQVwPLRz+zkchEkGHRddlh31DVM"
    "kQ+ggOKxjbvjNNaptNweUBj0ek9iGHYO7tfOQ+ERYOEbgL0EfgHj0S8XXJnEGYiW0SXXQm"
    "/thwcTStSTwH6HpVIEcuky8JAVmnz+QpzXvmjtSavQZPaN5jmq5o1WHMDDX8hdHIavZrRO"
    "tN+ZQqBGfjITgqZGSr3iO3PjxfKlI+keghxpsva+d6zB6Fge+kjIZizCKYVmGdF85HGXPp"
    "bYEeX9lxmPHNzXXGkTy/ynuKXz+fX3I1vMx6N8V4sznj5mSAlcQAz0r1IUBnB/MI73Filh"
    "y6Vk2MJBK9mEd2To2wML+gKd6xQB9G9K7RnmDT8h0pmjUlohBXQX4qKii6lLc/nXZqzkqq"
    "2K8ua5lwCNvoOC2nNNxlDef5QVlNl8krjXdZ4ypu99vQc8KnSmo5I6h03GUdF/YjmtLaBU"
    "G1J5wvUabC3jcLaGYHqymiGSFVkkglEqhEgi7gu41Eguyu+JowF+p/9BTnwjquMjZ2m7FR"
    "XOE2gGzj0LFuLmsrcc2s6p066ZIjf4+n1QFk4U1tVRqMh6eNk2B421QCCg5yTXyuQYd/eC"
    "JLDQr5WHwujev/iBgq+FSW1bLu42TTVFTyhkre6Nb0rpI3+rapqKLdVbT7nm2Wbka7fyb8"
    "1+nn2NNnFUZLrkWt5TIXbUeP0LjpUd0Qi85/CmULixj8OyIh/QEFryJ2kCioGRog4tgWn3"
    "7nIgpWiQsRcnxYhbm0HxHvIjjOxTTI3GYev7lE4rlOeRT8TnqGGPgbaAxpvzaDkSOOqBFn"
    "0kAysDiWhjJk46XFsPExDHgX1Q4x/8+ygsPCTTDLdMuEsotBvUfTW2lzQWHYX6HqYfhZ/E"
    "oYisoQOwhDbKeVgLs2u+6nGHD8ikgYwGmZXthouQDpwfsmEdKD99Uh0nAvV0qv4tDvurLL"
    "lQd+Ny283DWc60brBisvZ4gmsQYVca+cUhKBPs0qG6tvGq7bcgM5JaRKiLccyCpYtI02Di"
    "5MQbnvyn3fLqYH7b5fzHz6VOu+xy20Bu67Do0beu93gQsbOrVsImpYiU0Ckwp3WNSv4m62"
    "zn1ZYgT1saJPkdh4YjquNxKfxujFxGFz9Polf5Q4OaDouO+i0yBvXUAhTjOABHU4JJZyPX"
    "BvH7kz5niiY3433BAxIB0dI4vxRo64F22bULJAfN5BY51hxyXhYbUTk5LgsFqLP95yH+Aw"
    "WoMPOyS+DSTMs/Cs2tBY0NAYliN3HJULg2R7fkGDMmIOCU+yDb8zfA9EKPOnMzhhd4afRY"
    "N5o10aMSXEACmuoEuOqtq02c+mTfqFkBrkOcE++VA7ZmaU57pZzzUYmdIUY0asT8DueDiL"
    "7Bdp9NNSCvzW4IeD2CN2q8EfyikFrDn6pfHPiCn4W8Mf+CJypGUiozjLlpwleH1yoEcSCv"
    "KWkAufWQ7zWESB3naTaT+bIl2b2/eAvKLLFV2+XUwPmi6/8+dzPgHVEuapNloDytwVzc2m"
    "MW8/QX1TqIkqnuMCmbxI8dgfEJi44TESj0sEtq6GoDYl4YuS4I7nBNOo+io3D6DuasB0aO"
    "HhvkXWfFedbuKYCmHiByHP0LqmmGdeAaM4UDp65Y40dVZEV5wPxVzvh7lOvU/Fxau6pn5W"
    "rGVd/a7BXYPuJgrrK1Jjr6TG3KQtBnpGSp0f0WCYw5zVAue0lMK5Cc7c5moDdEZMId0AaW"
    "HCyk3asYiasFtP2JTjFjgTcthn5ZQCWitAsUWKLdoupgfKFnHYPxFsVBdziO5qq6o5zHjD"
    "htTQ/YyE5+iAUFyI4TsX8S4INZDFpq7G/9WfiIH48mNaSGfzuekhkYCIC7mJbhD5RxmaYr"
    "tIC227QwikHEcsDfktDH3kDw0/hVGL4RFChUdNzWdCEYRBvniN/oc/lBK0JN7LYwRfPAkB"
    "DXNOkW8jj/Eeg9zKpA+TBoGR/KdE9wLhMdyKsjgzT0HjBX9PZ9FTFhBgOeErvsG/hYcWzP"
    "FmIoWTA6kh5jzQJKfzGF2zKeJ3kmfBLzYcxjE1gm8EZx99DK6LhsFVyPnU4AeJG2LTY3wc"
    "fPAprHfuDB7gEcty0ePygYrQUbSYmfpMdBii+XsQnDrHy1C77Jk4H1IHz2qB7mI6z3HDo5"
    "b4Y7EjAkqBvoNUVFGNNzi/CT9QHTuOyd8Y5BDPd2jDk5cqabeuLD975eDaLz5aDaeWvHVy"
    "plVWbnem1ete2VXhFCdJAyVCCvcDiyrqmLvcrQDdOuj3EaPbrzGfWDtyyGfl9utEvz400F"
    "PWoRzqOUEFe5ux3maiKYgq6KVNmtCHkTdrUoIKdmnYhYsoD3ospiCXhjyOOJSDPBZTkEtD"
    "nlAcRdz/cXfzpRr1rGS+noOpe+i/yDLdA7Tja4AFSMRWV2WtxHxZRC1LIsADzssobBnGdQ"
    "XdfUPJPeP/bJ3s7gKDs1mqey36+ppN6+r6pW9rdQS2mNNkKvoNabasHn9AVFovoCk5SB6h"
    "niaoYGAfReRhjvoF4tEhOoHzgkrKFG+nj7rYRVU3r4vrRzX7qYq4qSJuXVikt5XlUeERVN"
    "um3XAFOpoIrzKxVQjKvsFXISgHYpfvLASFG+nXfNquNuGjuyst+Hj2b1aRW0QSpGJBwL4u"
    "LYQNN3JWdXml7bWeCEEkVx7yGHsKymFBuS14WhBiEcYtRKEQzI0CGmY4MP5Dc38cFupyxx"
    "/hMm8GIReBtlc7AKKQtrL9u7OAqJrZe1dByoCCl68I+t0cW1a1/RQJ9Qn4k8G7sxhq+FAH"
    "7t3n4fV1KRna7vDdjKAqa9vpsrZz4rp83S+quPoYoJRIL/iJOnVu5SCg0ACQWx3SUio0SH"
    "l5ysvrJqYH6uWdW+yxwsWLbml1/t0jb9T4tMiJaZGoTnK4SfKKr1lQX4EYyPX4mNEQ7KxQ"
    "UVyYt7r7NHw1eHsWR4cDRashm/tT8Sm9QSy5b0PtnuRUotzBkjvsudSNyxzD7M4wf7Ly57"
    "q0VNT4c4G2Chqo3slJJHphJ2X3cc5OG2zjnJ1W7uLArVxQnfl/pE3AS1auT17crosxqpNM"
    "vgWXL3+ufVNLOC+n7OF6eziz1q9pFf8UPavftnF+iFUcWL8fE/kz49+lqmJbdK/WSJ5Dq8"
    "ZWcnC6ZrRn8UwcUXzsGI1hi2IUfh4Hp3JOHbZwP0SN4sxV2FoIjg3xwb71FqZeet76Nrta"
    "bQcLLGtLsuXHRXa9gXgorb5CmwB+ZIe0VfRyHWmZsmwwSaY65U4AcdbrUDyipkcpU796Zt"
    "5HJurRXyc+1WG0ItET/HP6t6POTdB1Jr34v4RBH7XvoTm/nbCs1DcrwFxNMOfEWqHdMbZz"
    "1xyzmH8CyCTGd1aqD7jvoK6hh6clDmt1pkDUfq38gK5NJrtIEMhUbErZJUXwqws25cR2Rx"
    "a82dYA33AMouIAWs3hh8YB+LbRUs1ZSaXmTqs57cI0dSbSMoriyefbK+5McWcHzZ0VpocN"
    "IPzVJU6/wU1Pit0jJf8VWLR13GSqibaSooxMZIlgbXM+98VDkEtEETdRYASOZRA122AnHT"
    "v6zPSI7vlOuGU+x0/EhQRIPn6ehXCUKQlnRPDrOv8l4iDi8njuXXRaSl8KlOBu5EvUspdJ"
    "xEcrGjHWxiiMsGlGX+bngyjaQKpHCOtQ/GVX+Ut5B3gvvu8BpeDxlc7zS+icmiCPWKKPrP"
    "BZE1I47+GkOOGzQpCHgGvE50FXjhQuCPaBntw1LawI+X0hr1jiPbDEQRFZKdxTIgr6NaBX"
    "PHKrqefQCEaIpx7JbqNnhPqwmOxgl1FgNmHOvOyFWgF1ItY/sE8GDbA+GVRCDbdyFuqu47"
    "w7jW+vwry7hvR+qmNjh//lEWfU4rSpEmGlibaa8Ah1mSPnFiQiqr5ke+s0zQrLwJ+XUzpo"
    "rwOT2n5Z8exq9BMJhXt73JnvyQKfElHIr+8TPy4lowcKgip8oDTeVQ7VtIwCtBuFEg5nhl"
    "BBQypoqPP4biNoKI59WBPhdMpcT9FNrzDlxT5yU+4GYG1cP6WbU23b8im8e/Tl6/X1UYXF"
    "tQFk+x/lVrAzOxXqdkkNcWpSRZhb+rZWF+JGwoZSibhB7Bim7gKSXW2HgOcTJsnO+Co1Fq"
    "1cEUcGgWVQH0YUAYW6XaaO3eAqxJctZqIIjQfxZm5VNu7W+hNn4YbjVyT1inzeIGAO0neX"
    "SJ9hOo2C5XwXjifAehBNFz1ci8/dhavcPdTZPKisSsUhrx5+IjR6kOk+0CAz2CE6cww4mn"
    "YMx/ryHzzmd/kXhJ8KX4/ySyjSD9zyWPg7IHPnY3j0ryluhdV2gq/Fv2WgtkcSPO+BCjkX"
    "UbboTBpyPPJ2mImc9KmSkfduvGpIJSM3CTvbRjKyCu1ToX3d8HC3VlUUluYi8LUlRSMRFQ"
    "1clgzL6MScyjDliYSKHluDKU/s0yL4ddvTWbneZHfvOkIgsM1lxn1KRO0QtR/3NnNKAjKq"
    "ozHC5j0KwdjY3A1OsoyxF7Xvg+2x7RAuFdzbyuw7tOBeVSTim1CzKhKh9nu7C6za793zfq"
    "8qEnHwRSKirbF7B08mpr5iAy3VSmuyjzbyAoFm22n3sGE1g2qxwXZR9JTvXBQ+J9hYYpTE"
    "NWZhO6lkp2y9R5VuCEWPgAaNajuEjUbNN2IiuNJ16DaxI6NOgtgsH1K9UxNUGZHw0xMBRb"
    "OWuOrxmyFnLuXElLWUgzU1NUmgmpVSoNaboOn1Yk37KBe/cpjorrSRci/t6qi4yho37QIO"
    "s3Wwegpy9h3ulCl6YZmEm5jsiVSVK8u1qDVBddGW23C8sUSxskAMCTENPRHbQ++QgZeuON"
    "fL5jrQTRtzBSRHfEGNMGaHm0vl1cg28tTVYUrxg4Ru7dR+l+i53lxN8a8rzNUMtKP6cCVl"
    "p3bSTs2MlKb7IBmhHsa9nDYpznBaXZvhtFCaIfMONoU5I9RDmDe/6RTMbhIQxwI9hHc7x3"
    "WYU1K2aXpuUuwsy0FOZHIox5UaDgznulk43MWPN3U4mOdXX4a3P5cHbp2X7Pqf/3x/OSyE"
    "brn8J8im26WFlJumdqi/xa1LtdOmdto66oPX7rTt+bDvIXFMfXZU4nyHd7Q6pxsnbVZ529"
    "Wolvi5Ob9Vyqn8VjzKNTn3FqWkq+3r6lrSfbCwB2/fNrCweauaKn5v8xY2vFQSCIfNe4ju"
    "m9dN3HDeqtp/eV1wxHmPHinj4mvj9SMRFbAvGbhcsBd2uZj9+f/+IteS"
)
