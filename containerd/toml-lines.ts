/**
 * Where a new table may be put into a TOML text without changing what the rest of it says: after its root keys, before its
 * first table header and the comment lines right above that; at its end when it has no table. The text must be valid.
 */
export function findFirstTable(text: string): number {
  let candidate: number | undefined; // Where the run of comment lines that reaches the present line began.
  for (let at = 0; at < text.length; ) {
    const first = skipBlanks(text, at);
    const end = endOfStatement(text, first);
    if (text[first] === '[') return candidate ?? at;
    candidate = text[first] === '#' ? (candidate ?? at) : undefined;
    at = end;
  }
  return text.length;
}

/** Where the text goes on after spaces and tabs. */
export function skipBlanks(text: string, from: number): number {
  let at = from;
  while (text[at] === ' ' || text[at] === '\t') at += 1;
  return at;
}

/** The start of the next line that is not inside a string, an array or an inline table. */
export function endOfStatement(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; ) {
    const char = text[at];
    if (char === '\n' && depth === 0) return at + 1;
    if (char === '#') {
      const newline = text.indexOf('\n', at);
      at = newline < 0 ? text.length : newline;
    } else if (char === '"' || char === "'") {
      at = endOfString(text, at, char);
    } else {
      if (char === '[' || char === '{') depth += 1;
      if (char === ']' || char === '}') depth -= 1;
      at += 1;
    }
  }
  return text.length;
}

/** Right after the string that begins here, whatever kind it is. */
export function endOfString(text: string, from: number, quote: '"' | "'"): number {
  const isLong = text.startsWith(quote.repeat(3), from);
  const close = isLong ? quote.repeat(3) : quote;
  let at = from + close.length;
  while (at < text.length && !text.startsWith(close, at)) at += quote === '"' && text[at] === '\\' ? 2 : 1;
  at += close.length;
  if (isLong) while (text[at] === quote) at += 1; // A long string may end in one or two quotes of its own.
  return at;
}
