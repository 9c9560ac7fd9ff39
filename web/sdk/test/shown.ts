// Outputs and events as the vectors write them: {"snake_name": {fields that are not null}}.

export const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export function shown({ type, ...rest }: any): any {
  if (type === "send") return { send: JSON.parse(JSON.stringify(rest.frame)) };
  const fields = withoutNull(rest);
  if (fields.changes) fields.changes = fields.changes.map(withoutNull);
  if (String(fields.reason).startsWith("a frame that makes no sense")) fields.reason = "a frame that makes no sense";
  return { [snake(type)]: fields };
}

function withoutNull(fields: any): any {
  const kept = Object.entries(fields).filter(([, value]) => value !== null);
  return Object.fromEntries(kept.map(([name, value]) => [snake(name), value]));
}
