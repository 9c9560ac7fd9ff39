// Frames to WebSocket messages and back (protocol §1): several frames share a message of at most 64 KiB.

import type { Frame } from "./effects.js";

export const SUBPROTOCOL = "rt.v1.json";
const MESSAGE_LIMIT_BYTES = 65_536;

/** As few messages as hold the frames. */
export function encode(frames: readonly Frame[]): string[] {
  const messages: string[] = [];
  let lines: string[] = [];
  let held = 0;
  for (const frame of frames) {
    const line = JSON.stringify(frame);
    const size = bytes(line) + 1;
    if (lines.length > 0 && held + size > MESSAGE_LIMIT_BYTES) {
      messages.push(lines.join("\n"));
      [lines, held] = [[], 0];
    }
    lines.push(line);
    held += size;
  }
  if (lines.length > 0) messages.push(lines.join("\n"));
  return messages;
}

/** The frames of a message. Throws SyntaxError. */
export function decode(message: unknown): any[] {
  if (typeof message !== "string") throw new SyntaxError(`${SUBPROTOCOL} came as a binary message`);
  return message.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line)]));
}

/** The length in UTF-8. */
function bytes(line: string): number {
  let size = line.length;
  for (let at = 0; at < line.length; at++) {
    const unit = line.charCodeAt(at);
    if (unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff)) size += 2;
    else if (unit >= 0x80) size += 1; // two bytes; a half of a surrogate pair counts two of its four
  }
  return size;
}
