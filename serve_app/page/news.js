// Turns the `me` and `fences` streams into lines of the feed.

/** The line for one of my own crossings. */
export function crossingLine({ d, i, t }, fences) {
  const name = { strong: fences.name(d.fence) };
  const said = { inside: ["You are inside ", name], enter: ["You came into ", name], exit: ["You left ", name], dwell: ["You are staying in ", name] };
  return { kind: d.event === "exit" ? "leave" : "cross", parts: said[d.event] ?? ["Something happened at ", name], at: t, key: i };
}

/**
 * The line for an event of `me`, or null when it says nothing to a person. Types are named `<noun>.<verb>`;
 * unknown ones are shown by their name only.
 */
export function meLine({ d, i, t }, { answer }) {
  const user = d.user;
  const line = { kind: "news", at: t, key: i };
  switch (d.type) {
    case "connection.requested":
      return { ...line, parts: [{ user }, " would like to connect"], action: { text: "Accept", run: () => answer(user, "accept", d.version) } };
    case "connection.matched":
      return { ...line, parts: ["You and ", { user }, " are connected"] };
    case "room.invited":
      return { ...line, parts: [{ user: d.by }, " invites you to ", { room: d.room }] };
    case "room.joined":
      return { ...line, parts: ["You are in ", { room: d.room }, " now"] };
    case "room.left":
      return { ...line, parts: ["You are out of ", { room: d.room }] };
    case "near.enter":
      return { ...line, kind: "meet", parts: [{ user }, ", a connection of yours, is close"] };
    case "near.leave":
      return { ...line, kind: "part", parts: [{ user }, ", a connection of yours, went on"] };
    default:
      return d.type ? { ...line, parts: [String(d.type).replaceAll(/[._]/g, " ")] } : null;
  }
}
