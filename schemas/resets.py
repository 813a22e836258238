"""Resets: which rules staff may lift, what that means, and what is to be done elsewhere.

Policy, pages, API and command line read these tables; the words are for people at a front desk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from schemas.decisions import RuleName
from schemas.words import Words


class RuleReset(NamedTuple):
    """How an entry by a rule ends.

    `by` says who ends it: staff, staff who have the person's word (`confirmation` is what they
    confirm), or the person alone. `refusal` is why a reset does not lift it, or not unconfirmed.
    `means` is what follows beside that messages are sent again, `person` what only the person can
    do, `elsewhere` what has to be done in another place.
    """

    by: Literal["staff", "confirmed", "person"] = "staff"
    means: str = ""
    confirmation: str = ""
    refusal: str = ""
    person: str = ""
    elsewhere: str = ""


#: What every reset means that lifts a rule.
_AGAIN: Final = "Messages are sent again."
RULE_RESETS: Final[Mapping[RuleName, RuleReset]] = {
    "unsubscribe": RuleReset(
        by="person",
        refusal="its owner unsubscribed, and only a new subscription ends that",
        person="They unsubscribed, and only they can end that: they subscribe again where they "
        "subscribed first.",
    ),
    "complaint": RuleReset(
        by="confirmed",
        means="Another report as spam blacklists it again at once.",
        confirmation="Its owner reported a message as spam. I have their word that they want our "
        "mail again.",
        refusal="its owner reported spam: a reset has to be confirmed",
        elsewhere="The provider may keep it on a list of its own: if the next message is refused, "
        "remove it there, too.",
    ),
    "hard_bounce": RuleReset(
        means="The next hard bounce blacklists it again at once.",
        elsewhere="The provider may keep it on a list of its own: if the next message is refused, "
        "remove it there, too.",
    ),
    "opt_out": RuleReset(
        by="confirmed",
        means="Without their START the phone company goes on stopping them.",
        confirmation="They have sent START to our number.",
        refusal="its owner opted out, and only START sent to our number ends that: "
        "a reset has to be confirmed",
        person="They opted out, and only they can end that: they send START to your number.",
    ),
    "echo": RuleReset(
        means="The provider goes on refusing them until it is off the provider's own "
        "list, too.",
        elsewhere="The provider keeps it on a list of its own: remove it there, too.",
    ),
    "by_hand": RuleReset(),
    "refusals": RuleReset(means="Refusals are counted anew."),
    "soft_bounces": RuleReset(means="Failed attempts are counted anew."),
}  # fmt: skip
#: How an address is taken off a provider's own list, by the provider's name for people.
PROVIDER_LISTS: Final[Mapping[str, str]] = {
    "Amazon SES": "Configuration, Suppression list, Remove from suppression list; or "
    "aws sesv2 delete-suppressed-destination --email-address ADDRESS",
    "Brevo": "DELETE /v3/smtp/blockedContacts/ADDRESS of its API",
    "Mailchimp Transactional": "Outbound, Rejection Denylist, Remove",
    "Mailgun": "Sending, Suppressions, Delete",
    "MailerSend": "Suppressions, Remove",
    "Mailtrap": "Suppressions, Reactivate",
    "Postmark": "Message stream, Suppressions, Reactivate",
    "Resend": "The email, Remove from suppression list",
    "SendGrid": "Suppressions; Bounces, Blocks, Invalid or Spam Reports; Remove",
    "SparkPost": "Recipients, Suppressions, Delete",
}  # fmt: skip


#: What came of asking a provider to take an address off its lists.
RemovalOutcome = Literal["removed", "not_listed", "failed"]


class ProviderRemoval(NamedTuple):
    """What came of asking a provider, by its name for people; of a failure why, in words."""

    provider: str
    outcome: RemovalOutcome
    detail: str = ""

    @property
    def sentence(self) -> str:
        """What staff are told."""
        if self.outcome == "removed":
            return Words("It was taken off %(provider)s's own list, too.", provider=self.provider)
        if self.outcome == "not_listed":
            return Words("%(provider)s has it on no list of its own.", provider=self.provider)
        if self.detail:
            return Words(
                "It could not be taken off %(provider)s's own list: %(why)s. "
                "Try again, or do it there.",
                provider=self.provider, why=self.detail,
            )  # fmt: skip
        return Words(
            "It could not be taken off %(provider)s's own list. Try again, or do it there.",
            provider=self.provider,
        )


class ResetTerms(NamedTuple):
    """What a reset of an address is: of all the rules by which it is blacklisted.

    `lifted` are the rules that it lifts. The others are sentences for people: what that means, what
    has to be confirmed, what only the person can do, and what has to be done elsewhere.
    """

    lifted: tuple[RuleName, ...]
    means: tuple[str, ...]
    confirmations: tuple[str, ...]
    person: tuple[str, ...]
    elsewhere: tuple[str, ...]

    @classmethod
    def of(cls, rules: Iterable[RuleName]) -> ResetTerms:
        """Return the terms of the rules that hold, the strongest first."""
        held = list(dict.fromkeys(rules))
        by_rule = [RULE_RESETS[rule] for rule in held]
        lifted = tuple(rule for rule in held if RULE_RESETS[rule].by != "person")
        return cls(
            lifted=lifted,
            means=_sentences([_AGAIN, *(each.means for each in by_rule)]) if lifted else (),
            confirmations=_sentences(each.confirmation for each in by_rule),
            person=_sentences(each.person for each in by_rule),
            elsewhere=_sentences(each.elsewhere for each in by_rule),
        )

    @property
    def is_persons(self) -> bool:
        """Whether the person has to do something before a reset is of use."""
        return bool(self.person)


def _sentences(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, texts)))
