"""Words that commonly used passwords are made of, in lower case. A password built from these alone is no secret.

With 15 characters as the least length, what guessers try first is not the short classics themselves but their
repetitions and concatenations; so the list holds the parts, and the rule removes them wherever they stand.
"""

from __future__ import annotations

from typing import Final

COMMON: Final = frozenset(
    """
    password passwort passwd passw0rd passphrase secret geheim contrasena senha motdepasse parola salasana
    qwertyuiop qwertyuio qwertyui qwerty qwertz azerty asdfghjkl asdfgh asdf zxcvbnm zxcvbn yxcvbnm
    poiuytrewq lkjhgfdsa mnbvcxz 1qaz2wsx3edc 1qaz2wsx 1qaz 2wsx 3edc 4rfv qazwsxedc qazwsx zaq12wsx
    1q2w3e4r5t6y 1q2w3e4r5t 1q2w3e4r 1q2w3e q1w2e3r4t5 q1w2e3r4 123qwe qwe123 asd123 abc123 123abc a1b2c3
    abcdefghijklmnopqrstuvwxyz abcdefgh abcdef abcd 0123456789 1234567890 123456789 12345678 1234567 123456 12345
    1234 123 9876543210 987654321 87654321 654321 54321 4321 321 111111 222222 333333 444444 555555 666666 777777
    888888 999999 000000 121212 123123 112233 131313 696969 147258369 159753 147258 789456123 789456 741852963
    admin administrator root superuser sysadmin operator owner guest user username demo test testing tester temp
    default changeme change please letmein welcome hello login logon signin access enter open opensesame master
    server database postgres mysql oracle cisco docker jenkins grafana jupyter notebook mlflow tensorflow pytorch
    machine learning training model neural network deep data science tensor gradient epoch
    iloveyou loveyou lovely lover love iloveu princess sunshine shadow dragon monkey football baseball basketball
    soccer hockey superman batman spiderman pokemon starwars startrek naruto trustno1 whatever freedom forever
    summer winter spring autumn january february march april june july august september october november december
    monday tuesday wednesday thursday friday saturday sunday michael jessica ashley daniel charlie jordan thomas
    robert jennifer hunter michelle andrew joshua matthew anthony maggie ginger pepper buster killer cookie cheese
    banana orange purple yellow flower butterfly diamond silver golden chocolate computer internet google facebook
    linkedin samsung android windows microsoft apple liverpool arsenal chelsea barcelona manchester london berlin
    paris mustang ferrari porsche mercedes corvette harley yamaha matrix phoenix thunder tiger eagle wolf lucky
    angel devil jesus christ blessed family friend friends mother father sister brother baby money rich
    correcthorsebatterystaple correct horse battery staple thisismypassword mypassword this that the and is my
    your our for you not
    """.split()  # noqa: SIM905  # a list of quoted words would hide the words
)
