"""What an operator can mend. Everything else is a bug and keeps its traceback."""


class OperatorError(Exception):
    """A condition that stops a command; `fix` says what to do about it."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}\n  fix: {self.fix}" if self.fix else self.problem
