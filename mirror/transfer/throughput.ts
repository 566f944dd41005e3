/** What one look at a body on its way tells of the time since the last one. */
export interface Throughput {
  readonly byteCount: number;
  readonly bytesPerSecond: number;
  /** Most of the time the client had taken all that came, and waited for the peer. */
  readonly isPeersPace: boolean;
}

/** How fast a peer sends, told apart from how fast its client takes what came. */
export interface ThroughputMeter {
  arrived(byteCount: number): void;
  /** The client has taken in what once arrived. */
  taken(): void;
  look(): Throughput;
}

const PEERS_SHARE_MIN = 0.5;

export function createThroughputMeter(now: () => number): ThroughputMeter {
  let lookedAt = now();
  let byteCount = 0;
  /** What arrived and was not taken yet. */
  let untaken = 0;
  let waitingSince = lookedAt;
  let waitedMs = 0;

  const waited = (until: number) => {
    if (untaken === 0) waitedMs += until - waitingSince;
    waitingSince = until;
  };

  return {
    arrived: (count) => {
      waited(now());
      untaken += 1;
      byteCount += count;
    },
    taken: () => {
      untaken -= 1;
      if (untaken === 0) waitingSince = now();
    },
    look: () => {
      const at = now();
      waited(at);
      const ms = Math.max(1, at - lookedAt);
      const seen = { byteCount, bytesPerSecond: (byteCount / ms) * 1000, isPeersPace: waitedMs > ms * PEERS_SHARE_MIN };
      lookedAt = at;
      byteCount = 0;
      waitedMs = 0;
      return seen;
    },
  };
}
