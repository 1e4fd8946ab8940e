const escapes: Record<string, string> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0" };

function quoted(text: string, mark: string): string {
  const body = [...text].map((c) => (c === mark ? `\\${c}` : (escapes[c] ?? c)));
  return mark + body.join("") + mark;
}

/** Quotes an identifier for ClickHouse. */
export const quoteIdent = (name: string): string => quoted(name, "`");

/** Quotes a string literal for ClickHouse. */
export const quoteString = (text: string): string => quoted(text, "'");
