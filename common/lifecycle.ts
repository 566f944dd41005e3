/** Something that is started once and stopped once. Whoever composes it starts it after what it needs and stops it before. */
export interface Component {
  /** Resolves when the component does its work. Throws a MiroirError when it cannot; then `stop` need not be called. */
  start(signal: AbortSignal): Promise<void>;
  /** Resolves when all it held is released. Safe to call twice. */
  stop(): Promise<void>;
}
