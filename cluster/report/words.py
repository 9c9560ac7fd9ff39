"""What a report says of an event."""

from geo.crossings import TTL, Crossing, Event


def said(fence: str, crossing: Crossing) -> str:
    """A crossing in words."""
    sure = f"{crossing.confidence:.0%} sure"
    minutes = f"{(crossing.dwell_s or 0) / 60:.1f} min"
    match crossing.event:
        case Event.INSIDE:
            return f"starts inside {fence}, {sure}"
        case Event.ENTER:
            return f"enters {fence}, {sure}"
        case Event.DWELL:
            return f"dwells in {fence}, there for {minutes}"
        case Event.EXIT:
            why = "no fix for 15 minutes" if crossing.reason == TTL else crossing.reason or sure
            return f"leaves {fence} after {minutes} ({why})"
