"""A person's position: which fixes count. Pure; announcing.py has what the engine is told of it."""

from actors import messages as wire
from actors.announcing import placed
from actors.effects import Answer, Asker, Refuse
from actors.person import Moved, NotLive, UserEffect, UserState
from actors.position_messages import OK, refusal
from geo.fixes import Fix, Verdict, admit
from geo.intake import OUTCOME_OF
from geo.probing import HELD, TELEPORT


def position(state: UserState, message: wire.Position, asker: Asker, now_ms: int) -> list[UserEffect]:
    seq = message.t_ms if message.seq is None else message.seq
    fix = Fix(
        message.lat, message.lon, message.acc_m, message.t_ms, seq, message.speed_mps, message.heading_deg
    )
    location = state.location
    admission = admit(fix, location.last, location.held, now_ms)
    location.held = admission.held
    if admission.verdict is Verdict.HELD:
        state.probing.note(HELD, now_ms)
    elif len(admission.accepted) > 1:
        state.probing.note(TELEPORT, now_ms)
    error = refusal(OUTCOME_OF[admission.verdict, admission.reason])
    if error is not None:
        return [
            NotLive(admission.fix, admission.verdict, admission.reason),
            Refuse(asker, error.code, error.message),
        ]
    if not admission.accepted:
        return [Answer(asker, OK)]
    location.last = admission.last
    return [Moved(admission.accepted, asker), *placed(state, now_ms)]
