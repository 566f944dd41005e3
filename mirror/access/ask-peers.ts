import { MiroirError } from '../../common/errors.ts';
import { digestKey, type Provider, type Router } from '../swarm/router.ts';
import type { PeerClient } from '../transfer/peer-client.ts';
import type { Named, Readers } from './known-rights.ts';

export interface AskPeersDeps {
  readonly router: Pick<Router, 'lookup'>;
  readonly client: Pick<PeerClient, 'headReaders'>;
}

/** One that fetched it from its registry has asked; others ask when somebody wants it from them. */
const PEERS_MAX = 4;
/** In an outage the registry was waited for already. */
const TIMEOUT_MS = 700;

/** Who may read a manifest, by those who hold it. Undefined when none of them knows. Members are trusted: they hold the bytes. */
export async function askPeers(
  { router, client }: AskPeersDeps,
  content: Named,
  signal: AbortSignal,
): Promise<Readers | undefined> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const ask = async ({ address }: Provider): Promise<Readers | undefined> => {
    try {
      return await client.headReaders(address, content, deadline);
    } catch (error) {
      if (error instanceof MiroirError) return undefined;
      throw error;
    }
  };
  const asked: Promise<Readers | undefined>[] = [];
  for await (const provider of router.lookup(digestKey(content.digest), { limit: PEERS_MAX }, deadline)) {
    asked.push(ask(provider));
  }
  const said = await Promise.all(asked);
  return said.includes('some') ? 'some' : said.find((readers) => readers !== undefined);
}
