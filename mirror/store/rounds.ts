/** An action that runs once at a time. Each caller waits for a run that began after it asked, and shares it with the others. */
export function createRounds(run: () => Promise<void>): () => Promise<void> {
  let isDue = false;
  let running: Promise<void> | undefined;

  async function runWhileDue(): Promise<void> {
    try {
      while (isDue) {
        isDue = false;
        await run();
      }
    } finally {
      running = undefined;
    }
  }

  return async () => {
    isDue = true;
    running ??= runWhileDue();
    await running;
  };
}
