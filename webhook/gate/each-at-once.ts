/** Does it for each item, so many at a time. Rejects with the first error, and then begins no more. */
export async function eachAtOnce<T>(items: Iterable<T>, most: number, act: (item: T) => Promise<void>): Promise<void> {
  // All workers take from one iterator: the next item is for who is free first.
  const queue = Iterator.from(items);
  let hasFailed = false;
  const work = async () => {
    for (const item of queue) {
      if (hasFailed) return;
      try {
        await act(item);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: most }, work));
}
