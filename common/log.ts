export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

export type LogFields = Readonly<Record<string, unknown>>;

/** Writes one JSON line a call. The message is constant; data goes into the fields, never a body, a token or a key. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds the fields to each of its lines. */
  with(fields: LogFields): Logger;
}

export interface LogOptions {
  readonly level: LogLevel;
}

export interface LogDeps {
  /** Receives one whole line, its newline included. */
  readonly write: (line: string) => void;
  readonly now: () => Date;
}

export function createLogger(deps: LogDeps, options: LogOptions, base: LogFields = {}): Logger {
  const threshold = LOG_LEVELS.indexOf(options.level);
  const at = (level: LogLevel) => {
    if (LOG_LEVELS.indexOf(level) < threshold) return () => {};
    return (message: string, fields?: LogFields) => {
      const line = { time: deps.now().toISOString(), level, msg: message, ...base, ...fields };
      deps.write(`${JSON.stringify(line, plainError)}\n`);
    };
  };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    with: (fields) => createLogger(deps, options, { ...base, ...fields }),
  };
}

/** For tests and for code that has nothing to say. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  with: () => silentLogger,
};

/** JSON.stringify shows an Error as `{}`; what a reader of the log needs is its message, code and causes. */
function plainError(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (!(value instanceof Error)) return value;
  return {
    message: value.message,
    ...('code' in value && { code: value.code }),
    ...(value.cause !== undefined && { cause: value.cause }),
  };
}
