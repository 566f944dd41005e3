/** What happens to a body on its way, one after the other: all of it can be held up for a while. */
export interface HeldBody {
  /** Runs it now, or when the body is let go; or never, when it is dropped before. */
  next(run: () => void, drop?: () => void): void;
  hold(): void;
  letGo(): void;
  /** Nothing more happens. */
  drop(): void;
}

export function createHeldBody(): HeldBody {
  let waiting: Array<{ readonly run: () => void; readonly drop?: (() => void) | undefined }> = [];
  let state: 'going' | 'held' | 'dropped' = 'going';
  return {
    next: (run, drop) => {
      if (state === 'going') run();
      else if (state === 'held') waiting.push({ run, drop });
      else drop?.();
    },
    hold: () => {
      if (state === 'going') state = 'held';
    },
    letGo: () => {
      if (state !== 'held') return;
      state = 'going';
      const steps = waiting;
      waiting = [];
      for (const step of steps) step.run();
    },
    drop: () => {
      state = 'dropped';
      for (const step of waiting) step.drop?.();
      waiting = [];
    },
  };
}
