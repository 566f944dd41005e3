/** Longer values say nothing more to a person and could fill a log. */
const QUOTED_LENGTH_MAX = 80;

/**
 * Shows what somebody gave us in a line for people: on one line, no control character, not over-long, and without
 * what could be a secret in the wrong place (a key in hex or base64, the password of a URL).
 */
export function quote(text: string): string {
  const redacted = redact(text);
  const shown = redacted.length > QUOTED_LENGTH_MAX ? `${redacted.slice(0, QUOTED_LENGTH_MAX)}...` : redacted;
  return JSON.stringify(shown).replace(/[\u007f-\u009f\u2028\u2029]/g, '?');
}

function redact(text: string): string {
  return text.replace(/[0-9a-f]{32,}|[a-z0-9+/]{43}=/gi, '(hidden)').replace(/(:\/\/|^)[^/@\s]*@/g, '$1(hidden)@');
}
