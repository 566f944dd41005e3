import { createMemoryStore } from '../../mirror/store/memory-store.ts';
import type { SmallImage } from './store-image.ts';
import { testStore } from './store-suite.ts';

testStore('memory', async (t) => {
  const store = createMemoryStore();
  const images = new Map<string, SmallImage>();
  const isUsed = (digest: string) => [...images.values()].some(({ blobs }) => blobs.has(digest as never));
  return {
    store,
    async addImage(name, image) {
      images.set(name, image);
      for (const bytes of image.blobs.values()) store.put(bytes);
      store.name(name, image.digest, Date.now());
    },
    async removeImage(name) {
      const image = images.get(name);
      images.delete(name);
      store.unname(name);
      for (const digest of image?.blobs.keys() ?? []) if (!isUsed(digest)) store.delete(digest);
    },
    truncate: async (digest, keptBytes) => store.truncate(digest, keptBytes),
    async receive(image) {
      const bytes = image.blobs.get(image.layer) as Buffer;
      const receiving = store.receive(image.layer, bytes.length);
      let sent = 0;
      let isEnded = false;
      const end = (how: () => void) => {
        if (!isEnded) how();
        isEnded = true;
      };
      t.after(() => end(receiving.abort));
      const sendUntil = (end: number) => {
        receiving.write(bytes.subarray(sent, end));
        sent = end;
      };
      return {
        sendUntil: async (end) => sendUntil(end),
        async finish() {
          sendUntil(bytes.length);
          end(receiving.commit);
        },
        cancel: async () => end(receiving.abort),
      };
    },
  };
});
