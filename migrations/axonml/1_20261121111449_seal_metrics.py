from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "metric_chunks" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "key" VARCHAR(250) NOT NULL,
    "first_point" BIGINT NOT NULL,
    "points" INT NOT NULL,
    "first_seq" BIGINT NOT NULL,
    "last_seq" BIGINT NOT NULL,
    "first_step" BIGINT NOT NULL,
    "last_step" BIGINT NOT NULL,
    "coarse" BYTEA,
    "fine" BYTEA,
    "payload" BYTEA NOT NULL,
    "run_id" UUID NOT NULL REFERENCES "runs" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_metric_chun_run_id_093d2c" UNIQUE ("run_id", "key", "first_point")
);
COMMENT ON TABLE "metric_chunks" IS 'Sealed points of one key, in the order accepted: its accepted points `first_point` (from 0) onwards.';
        ALTER TABLE "metric_batches" ALTER COLUMN "payload" DROP NOT NULL;
        ALTER TABLE "run_heads" ADD "weighed_seq" BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE "run_heads" ADD "sealed_seq" BIGINT NOT NULL DEFAULT 0;"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE "metric_batches" ALTER COLUMN "payload" SET NOT NULL;
        ALTER TABLE "run_heads" DROP COLUMN "weighed_seq";
        ALTER TABLE "run_heads" DROP COLUMN "sealed_seq";
        DROP TABLE IF EXISTS "metric_chunks";"""


MODELS_STATE = (
    "eJztXf1z2zbS/lcw/qXpjOJJbMfJxffejJy6F985did2rte73EgwCUkcUwDLD6u6Xv/3dx"
    "f8/hRJfVEMZjqpRWAB8gEI7j7YXfx+RH8TfG4eDy3j72z5WSyO3pPfjzidM/gjXziAa5YV"
    "F+EFlz6afm3LGD2xpSNrPTquTTUXrk+o6TC4pDNHsw3LNQTH2kNOhj9dExA4JmNTiCfPGh"
    "PDIYbrEMt7NA2NWNR2L4iYEHfGiMM0m7lEcHMpf99/HL48eXOOIk/Mco+xV11o0K3Bp9vq"
    "wOPGrx4buWLKoIoN3fz7P3DZ4Dr7jTn48/ejicFMXf595DnMHhk6SkLb1GX6iLpHKMF+s2"
    "zmOICFEzYSgR7AOEJpCfDSkgVHUg5glT/+QBnraSS7S42a36G8Pgplv3y5/uFHWRNhehxp"
    "wvTmPK5tLd2Z4FF1zzP0Y5TBsinjzMabTwwm90wzGPfwko8NXHBtj0Wg6PEFnU2oZ+KUOP"
    "rzxOMazgQie8J/zv4S3Fqi2mh0e/cwur96GI2OcjMIbyEz5sElDVAFmAzuIri//+G3GwMi"
    "rx5hBx8+Dj+/OD3/XkIgHHdqy0IJ19EfUpC6dBQPaYyy/H8O5w8zahfjHNbPIA032gbj8E"
    "IMcvyahfCFAG0B0qM5/W1kMj51Z/Dz5M2rCoz/MfwsYYZaEmcB64K/YNwGRSd+GeId4+u/"
    "sU0QjiU2g/HqebwzhF+f1wD49XkpvliUhtdf7UYz6szyGF8anNrLYpQzghmoH5cucw5wQl"
    "fAe3lzd4ktzx3nVzPA+/L6dvj5lxefhv+UkM+XQdHN3e1fw/rJ9eTyl4erYXYENGH5WKXB"
    "/9v93W0J9JFEBnXd0FzyP2Iajtsv7BGLFPbhlI6gT8z2DwXAYwOXGeATn+Ic+D9AiWvMWf"
    "EApCWzgxCIHod/9GsoHq4/Xd0/DD/9lBqPH4YPV1hyknoNwqsvsitS1Aj5+frhI8Gf5F93"
    "t1fZYYvqPfzrCO+Jeq4YcbEYUT2JSXg5vJQaZlCxDGiuxTCnJTcwzMGHQ43y5kfZpI6Lmn"
    "Kb1zkrq0a6yyNts2fx1Gqc05JqlLs8ygmTua4FmxDZpBnb3UFdabXGcC6E/eRYVGMNMc3K"
    "KWABWGRcJk+FbEDI1aTx/VHYzJjyvzPflrqG+6BcK6IBAqbtCzQT8GyHiWp8NV4mbbqIWK"
    "rkywqPrzOTub5ZP7z/MPzh6qh49m4A2p/DtvqNb/bFLQYZZ/Ij1Z4W1NZHqSmNJeJEZK5E"
    "dfNF85N59grldCoRwkeRHwJ/CMJBKqGZk8WDKqLZSAz2aqL5Ryh1CH0UnkvcGRLAgfgFEZ"
    "wRWywGxNDJ62MydpjrWSMdLoOuIMliRzLCGiOU64SzZ2YT+ChSm+l5wnmbHa0mnhvRwfdz"
    "aprX3G1ACeOUa/Ha7JdEm+ItvDw9eXv+DkrlHeKPtxXfgPtPw5ub69uHFfSvLYQLBXzKbM"
    "sOsKlLVBbJtqIsO6aHpjnL87ManOX5WSlniUVZzhLfGhd0ed6KuMxLt2QvO4b7PsjL5ALW"
    "1B7LCSuTrGsmWU7V3Y/G8InNH5ntzAyrRGdIV6jUGuZR1Zo71A8z6hJKUGMlj8wUfOoQV8"
    "CVSMcayK81dcgCquYVgjYNFHzo/x1ZF7E+/J91vv6XxnTtb3/wvnX90/+nk5PT07cnr07P"
    "3705e/v2zbtXkSKQL6pSCy6v/4pKQeolrKMlmI02icP6Pdwk3vwWpqKKFFXUVWArqCJFam"
    "yJ1MiuDYqP2wQftx/F7953jivR+hKllSqfE7rY1dL37jgjppga/JiMbTaBF3oG+HncZfaY"
    "zMUzc8jjkmhiblGbvQTF7SUYMhdx3Se2lFSO70woe/7OIR8/DT+gE+KAMK7ZS8stoo522/"
    "UuvBhD6JUX496/RZUKanqyNbMVCoQ3QxrWWTtf9cBwyI8DvK3NWK2MoHLHG7RktAIgWzoY"
    "pGWVZ1jnCC3lAPjNDbN073IY421dwxKyaqg7PdQd8vVUw7xl5zAwGJttt6al+rfRupXwGx"
    "gVNO2a4JwQ6R/Im9/NZvBYbXSQpJzaOO3ycgUjNQKF0QEEGrxGaan+vUmnJzXepNOT0jcJ"
    "i9RGkHJtVVR6TSodhgkerzy8P11hUEmo+1Wbhflf6Sdv3rz+EzLRxKKGTSbCJlTTQFcg0h"
    "3LuZDEtWUbzzAryIyaEySzI9KaeDDwICJbgL+MZ7g2scVciqE3XRC8X5gEYMfdr+Gp+VS0"
    "hpV/KJ4K16/DD3be1AeinPUOhnoUDXEzzrVQXDGvg5bMq5+MYwRracNhSMkp/Nviz4U7em"
    "SwKhZ4JFSbImlJRZ502hqBD5Rht9zeSEoqm7Nro9wRZ91Qwy9QMRPKf7lyifpzXa2SWFBX"
    "oLsEm1PD9ENoXFiIdKJRh72cCFNn+gUobb4ervteuGCkLB30t6UYjkMWBkxlzw0aoyZBja"
    "FAidx2bxuO7lFuEpt2k5DD3ojECQV6qJ3XYZuhVoV+nmObVTKt7bL5FnWchYAFvjhsqhzo"
    "nGD/+MitAK4c/7fo+K/8N3qryub8N6RXbFsHjqSwMlu6PNa64SDIbd7pjKga506Psw/OqG"
    "2wUZm82sSr3sTL4baBHb1vJPiobMql9vg+w5vx+frDw742+VJjUUDAZMeqnIWJHrM2FWML"
    "Mcck2phYWyy4v79GXEbn7wkmMlkSgayG5EASYdCCsyKqZc3WFJXSgYVoUEGlOKY3bWIZhf"
    "V7R6S8PnlXxzA6eVduGWGZIlJ2adcr07O3ampHdlGufrOYDTOAuyWf8nSFym85i6rW/phj"
    "ZzqZ2sKz8Ctse9w5JmPuYe6UYN8DW5d5S2Tcn4P7GXFGk6JP+tptfuVf+dg0ntH1CBsbE5"
    "tZ8Dr5Aa94hSxmBrSAP+OHxqa5cAm1tZl02sEO8BogTujEZTYOl/Ne6hr+a8TRK8hwvvIZ"
    "qBdfg3crfTeEzkHpkF35t/T1KDwjBIN08Tp+/B6pU6qR/DudBMBHAiNqMwWJR85lfEmF6G"
    "Z10/RiA9dWROsmJsrIgnkpZ5EK2O2g+hTMlRzSpUG6scDuYnO3+Y33w3NPXp+9PXt3en4W"
    "ReVGV6qCcfOBt0ph2vIxLoklrAHMGTG161QL7OSd5cB+gEW8jFRLifUB7Cpl9OqfDyk9NH"
    "emSMqLLqyePWhE2QXfiF2QijSx9JbDnJZUw9zpYQ4NhhbjnBFVu1FdHmex4I0jx5IyatdJ"
    "5RBUOQQ7ge96OQTj7bvc8rABhPsf+phcFDu1L/rZ4z9Rm85LuNRk8aCKSbU9PrKwZn0Hda"
    "wNKNhIeVIkPX2e8ZmaHkOncDyacCAvuWCZ4T7n3E8HjZd81oYsZozDb+QX8QiJF7gZ6jDU"
    "MWRNYevM/r7QYX23vRdynNAplmFmskryMkhdFrOgVUxlPBCjmNnaBFWpkmJj2S6SYhfmuK"
    "sIcy3MbKcItxIOSL7hTdifSKAXCO+a+MHVswnaYX0FdguwyzY/fjQFbbr9MUGZXpnfP9x9"
    "uby5Ij99vvpwfX8dHJwc2duyEC/BBSNUzoY32bgF+Lw2M91iCWW0VRttgT60pjEBKmu/bY"
    "l4QnUpi0oAe7ENUcd8aJCEXMIDUKLafkzGCUpxTGYGCIBSfkHGMsQBGjOeDXcZniOH7gdI"
    "LKLeL50j2II5LlnY8M6H7gl+h8VZyHfUN3p0DLEPGRVLxpZnT4NeoKEpmhtobfgOnzajYG"
    "lcyENysNhkE9d3EcVfj0zeLsM06TqxDKbJzuQfbdKdr+tLgWO9yokCl9xEl7H7xTp9xq3U"
    "7xnzya/Xq99C/R6TVEGrDiNWpuYThjOr3tPI2puyKZX7y8bdX5S7xlatR9A+XK9R1s9Yoo"
    "cYbz521XGFNbIZPKtTnHdKCJNRXoZ1Vjib9QiktwV6dGXHWY/u7m5ShuTlddZS/PLp8gqG"
    "4fu0dZP39ZoLUCd9rBpM8LRUH5xjduEnL/jEKIjzKCdGYolerCM7p0ZEkO+sLt6RQB9m9K"
    "7RnlDD9IrypZXjnRBRiCsHO+WRE17K6p92u2FOSyq/qy6Pskp93/cRzvKDTUe6SF6NeJdH"
    "XPnMfhvjHPOpDUc5JajGuMtjnNuPqEtr5wTVnnDGjlEu5xsGNLWDVRfRlNAakB7OGqSc+D"
    "vnD6Kc+HfhxJ/eFV8T5lzujZ7inPuOq2iJ3UZL5L9wG0C2tutYNz9rK3FNfdVTwMIdkNsv"
    "Nzd79B57oNNyB7KgcLAqBMWl09oBKFA3EfxB/TiPxFFWA0yiY8JaGuXekT5U+KsoomTd5p"
    "qGiKjgDRW80a3lXQVv9G1TUXm7K2/3Pess3fR2/8Tg6bRL6mqzEqUlU6NSc5nLuqNHrFw3"
    "rTD6osOjcLEwmQ73SKT0e+K/itQm8oC/QAGR53B6/DuHcNRKHPSQg2kVxLFeEOhCyEqGzu"
    "aWcKFwSWS7drEX/E56Rh/4O6yMIbeWwJlDQIPFEFuogd7tM4oJDIlFl6ag+kXg8C4zDVL4"
    "zzSJ4OaSGKiWaaaBKQ/9XItG6Vmkkc4Ft+pnHAx+y6fEqagUsYNQxHD8GsEfCPQpC+BOhi"
    "CGPHpFGijASZle6Gg7SGKtG1PmFBAeVYfBxjLqINisMlz7IF75DcrjXrqkxAJ9WlU2lls0"
    "+G43m8gJoZYzuZvs3S4nsnIWbTMaB+emoMx3Zb5vF9ODNt8/zDz+VGm+RzUGNcx3DSvXtN"
    "7vfRM2MGrFROaPkpsEBpfmsMwdBWa2BrYs0/3cVOGvUGw8MWzHHclfY/JiYos5efU9NCWz"
    "9ucN91106setSyjkSQIYoA4/KZ/65z87M2G7smMoDTZEdAxHpwSPKsJ8XFAWbptwtiCw7p"
    "CxJqjtsLHcNoE74PinzYgJzZvOV+4KosO0I/JuwmOk8YkCZWGAqbps//iD6N6wP8K48KYz"
    "PCBpRp9lhXmt3Rj56kdAKE6gSwap2pzZz+ZM8oVoNMkzgn2ylXbMwCgLdbMWqj8zG1OJKb"
    "E+Abvj6SyjXBqjn5RS4LcGP5jELrNaTf5ATg3AmrO/Mf4pMQV/a/h9m6MZORnLKG6yJTeJ"
    "1l0z0EMJBXnbfY398PBdW2b2gLxiaBVDu11MD5qhvffmc1iAKjnaRJ1BDZbWkdWNum5WP2"
    "NKTUzDKdtxkL9cJKjT9wS1reDUgMclQbVrQDAdIptDbaQr54zyMOEnfKkw1advdA+Cs1zz"
    "RO2uOt3EqQRS2/S9bLF2Rf7I7ACMIt/c8JU7GqjjCbqiBysSdT8kauJ9yn+8ytO4p8Vapn"
    "LvGtwV6G4il7uyr/dqX88N3mKip6TUkQU1pjmuWS1wTkopnOvgDDpXG6BTYgrpGkhLFbbZ"
    "oh2JqAW79YLNATffmGiGfVpODUDrAVBskWKLtovpgbJFAPtHRvXy/AFh6WBVAoEZVKxJDT"
    "3MWHB0CwpFsf/fOQS6YFwnppg6A/hXe2I6gc+PYRJNzOeGS2TMG82Fwzm+ExoXZEqtPC20"
    "7Q7Rd28csjTs18DbDhoNfgUOdMGpNbmmpsYz4wQ97168Iv8HjXJGlsz9/pjgjcdeh0GYI/"
    "Es4gro0Q/ni/swuO+j51ykq5LxAl7GWVh1gQ59E/is69CVSxbCdmcyNBDQGhBhJ0IFa55y"
    "U8o3dWXd3Sv5tE7urHIyKZ5uzXSKtNzudIpXvVIogne7If8RCyncD8yzo2N2YrecJKug34"
    "efZL/mfPyZb4Z8Wm6/1uOrQwM9oTE1Qz0jqGBfCXvOtmxiCq2wQ+84exDwz9at0C5omJu1"
    "QdeyK2/EtCrHS7J4UGVZosrUKLvLkKdTrEADYZqVxczQZmDXcZdxdyBtNLTKpEtAxibDfC"
    "g20xjmji9IWbedPqqcClQOle6tW4MK60wl9FAJPbpAMGzL/dI0eNGhcOUGWFi/T5sYGwuW"
    "UtE6am9o3+CrvaED0ct3tjcESvoNLNvlKnxYulKDj1b/etkZsXpykwb168KkiFiQ0aqLsy"
    "6u3eLKfIdKLe/O2q5SG+59CBK6DWYayYN+P6emWa7ahEJ9Av705O15BDX+qAL3/tPw5qZw"
    "36ndGWkpQZV9rNPZx+bMceCTnB/i8mztCZFeUAdVw6nytSsj4PAwPVAj4NIUjyUWQFhUqf"
    "4/QqXaB8tMDJOFKdUCDv0lrJsYF8d04rgwZwYEiXeO0XtY6/7j8OXJm3PU7THnmmTwBsQC"
    "xT460Mv33/IsjLmOE5hnzqDZYc+FpkTqxDZnRqFlZVN0SaGtsCn80cqNQDnRH0v04ludpv"
    "nPz2qw/OdnpSQ/FmX8H4z/slHEzTew3VJyfbIkdp3PRSU9/hbMDnU6qzqdtaO6cc3TWfeU"
    "cUPAvZRl2gjLKpXkOdaqrSX7B/GElPYzs2XSiGMyRgZ7FPwe+wf4TG2xcN6HlaKIA/Tw9z"
    "MMe6jfugtDKzyacZtdrdaDJZaVqTSy8yL9vUF3mUF1Zg0J/MgKqJOSdBq4SCY6TR6y2rLD"
    "6ETbTSTwKF+Z9xFIcfTnicc1nK1E9oT/nP3lqHMLdJVKL//fQKEP6/dQnd+O107iznIwl5"
    "OcGbFWaHfMj3/XPKdcf3zIGszvtFQfcN9BPprwROU0yH+7v7stBjmsn7WSDM0l/4NvsHOI"
    "BmsFrIhE9fzOTuXMQo4NZOd3Ui/Jg18eaJ8R2x1Z8HpbE3zDLmqKA2i1hh8aB+BZesthTk"
    "uqYe70MCdNmLrGRFJGUTzZcDHFnSnu7KC5s9zysAGEvzjM7je4yUWxe6TkP3yNtoqbTFQZ"
    "rKQoQxW5gS+vMZ97shHiMBdJRBkfi+l08bQxuZNObW1muExzPTvYMp/TJ+ZgfBzMn2cpHA"
    "bSYW5fuK7Bk8gzy4rdfXfRaSF9KVHC0tCWqGQvY4+PVjRiNBqjwMOmHn2ZXQ9Cb4NGPaJb"
    "h+Ivu8pfNjeA92L7HlCEFnzpXK+Azqlw8ogk+sgKn9chhbMWToITPs85eUi4RrAOOs1I4Z"
    "xgH+jJXdPCipDfF/KKJd4DS+znQGuEe0JEQb8G9IpHbrX0HBrBiP7Uo6bb6CmhPnxMdnJ0"
    "MGA2Efa86IVaAXUs1j+wT09qYH16Ugo1FmU01F37eXca3165eXcN6f0kd6Q2/OUye9TilI"
    "ACYTUSbUfCZdwRdjOzIBZZSz3tGP671k6TrHAT+LNyagzaj4HBLa8oyWw5+rGEwr097sJz"
    "mwKfEFHIr28TPy4beg/kBJX7QKG/azNUkzIK0G4kSjicFUI5DSmnoc7juw2nocj3YU2Eky"
    "FzPUU3+YUpTvaRWXI3AGvt/CndXGrbpk+B7sntl5uboxKNawPI9t/LLadndsrV7Yrr8pCR"
    "Eje3ZPGgysWNBRUbBeL6vmOUOwsMdrVshpZPECQ7g6/UWNZypB8ZOpZhfhi4zojNLNPQqO"
    "NfRf+yxUwmoZEH2Becbb/l/uQZZsH8lUG9Mp7Xd5jD8N0l0WaUT0NnOc/B7PVU873pwsYH"
    "0XlpeBXMQ03M/cSbnAhoxKVPjIcNGc5X7kcG20wTts50eAY8jg0eeAylcIP4qHh7HC6RcH"
    "ywyBXBc2DkzkVwZJshi4JsO/5twV36w/bI/Pa+cinnEC4WnQlDjmbeDiOR4z5VMPLeldcB"
    "UcHIddzOthGMrFz7lGtfNyzc7WS2DD7NeeBLN/OSIsobuCgYVvCJMW3ClMcSyntsDaY81k"
    "/z4FdtT6flehPdvWsPAV83bzLvEyJqh6j9vLeEXeCQUXHmpt03F4yNrd1oJDdR9sL6fdA9"
    "tu3CpZx7W6l9h+bcq5JEfBPDrJJEqP3e7gKr9nv3vN+rkkQcfJKIcGvswaaTiaGt2EBL1B"
    "rU2Ucbub5Ave20B9ywmmG2WH+7KGzlO4cE7fgbS4KzKMcsbicV7JSt11ThhlDYBFaoldsh"
    "qDSqvxETwpXMQ7eJHRl1EsRm+ZDynRo/y0gDOz0WUDRrgakevRnN1KWMmNKWMrAmlqYGqK"
    "alFKjVKmjye7GmfpTxXzlMdFfqSJmXdrVXXGmOm3YOh+k8WD0FOf0Od0oV/WAaDFRM8cTK"
    "0pVlalSqoJqsCzocVG6QrMwXI1JsQJ6Y5ZK3RKdLR57rZcEYaIZFYQDiI74wR5iwgs2l4m"
    "xkG2l1tZtS1JAcWyux3yV7rlZXE/zrCnU1Be2o2l1J6amd1FNTM6XuPkhKqId+L2d1kjOc"
    "ledmOMulZki9g3VhTgn1EObNbzr5q1sDiCOBHsK7neM6jCkr2jS9NDi1l8UgxzIZlKNMDQ"
    "eGc9UqHOziR5s6AObl9e3w8y/FjluXBbv+l788XA1zrlsOPELTcLukkDLT1A71t7h1qXba"
    "1E5bR23wyp22PR/2PWS2oc2OCozvoGRQZXTTuM4qa7sc1QI7N2O3NjIqvxWLck3OvUUq6X"
    "L9ujyXdB807JM3b2po2FCrIovfm6yGjS9VA4SD6j1E9/WrOmY41Cq3X17lDHHo0WVFXHyl"
    "v34oohz2Gzou5/SFXX7M/vh/063UMw=="
)
