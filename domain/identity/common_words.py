"""Words that are worth nothing in a password here: the product's, those of its field, and what general lists lack."""

from __future__ import annotations

from typing import Final

COMMON_HERE: Final = tuple(
    """
    axonml axon password admin administrator root superuser sysadmin operator owner user login logon signin default
    changeme opensesame passphrase thisismypassword mypassword correcthorsebatterystaple correct horse battery staple
    passwort geheim contrasena senha motdepasse parola salasana qwertz yxcvbnm
    пароль привет любовь йцукен йцукенг йцукенгшщзхъ фывапр фывапролджэ ячсмитьбю 我爱你 パスワード 비밀번호
    machine learning training model models neural network deep data science tensor gradient epoch notebook jupyter
    mlflow tensorflow pytorch grafana jenkins docker server database postgres mysql oracle cisco linkedin
    """.split()  # noqa: SIM905  # a list of quoted words would hide the words
)
