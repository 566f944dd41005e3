import type { Provider } from '../swarm/router.ts';

export async function* only(provider: Provider) {
  yield [provider];
}

export async function* without(left: readonly Provider[], found: AsyncIterable<readonly Provider[]>) {
  const addresses = new Set(left.map(({ address }) => address));
  for await (const batch of found) yield batch.filter(({ address }) => !addresses.has(address));
}

export async function* after(known: readonly Provider[], found: AsyncIterable<readonly Provider[]>) {
  if (known.length > 0) yield known;
  yield* found;
}
