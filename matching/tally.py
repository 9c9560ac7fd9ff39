"""What is known of one person from decisions so far: the arithmetic of MATCH-4, without any library.

Rates are shrunk to a prior: (yes + STRENGTH · prior) / (decisions + STRENGTH), an empirical Bayes estimate.
"""

from dataclasses import dataclass

PRIOR = 0.5
"""The rate of somebody of whom nothing is known, wherever the engine keeps tallies."""
STRENGTH = 3.0
"""How many decisions the prior is worth."""
WARM_FROM = 5
"""With fewer decisions a person is cold, and the profile speaks alone (MATCH-5)."""

RATES = ("received_rate", "give_rate", "residual", "received", "given")


@dataclass(slots=True)
class Tally:
    """One person's decisions so far, given and received."""

    given: int = 0
    given_yes: int = 0
    received: int = 0
    received_yes: int = 0
    surprise: float = 0.0
    """Sum of (decision received − what its rater gives on average): attractiveness beyond who asked."""

    def give_rate(self, prior: float) -> float:
        return (self.given_yes + STRENGTH * prior) / (self.given + STRENGTH)

    def received_rate(self, prior: float) -> float:
        return (self.received_yes + STRENGTH * prior) / (self.received + STRENGTH)

    def residual(self) -> float:
        return self.surprise / (self.received + STRENGTH)

    @property
    def is_warm(self) -> bool:
        return min(self.given, self.received) >= WARM_FROM

    def gave(self, yes: bool) -> None:
        self.given += 1
        self.given_yes += yes

    def got(self, yes: bool, rater_give_rate: float) -> None:
        """Count a decision about this person; `rater_give_rate` is the rater's before it."""
        self.received += 1
        self.received_yes += yes
        self.surprise += yes - rater_give_rate

    def features(self, prior: float) -> tuple[float, ...]:
        """Return the values of RATES, in that order."""
        received, given = float(self.received), float(self.given)
        return (self.received_rate(prior), self.give_rate(prior), self.residual(), received, given)
