import { YamuxStream } from '@chainsafe/libp2p-yamux/stream';
import type { Stream } from '@libp2p/interface';

/** A quarter of the least window that yamux grants: the other end never has to wait for more. */
const UPDATE_BYTES = 64 * 1024;

/**
 * yamux answers each frame that it gets with one of its own, which raises the window by what was read. Between members,
 * whose frames are short and few, that is as many packets again as they have to say, each encrypted and sent alone. Here
 * the window is raised when a good part of it was read.
 */
export function raiseWindowRarely(stream: Stream): void {
  if (!(stream instanceof YamuxStream)) return;
  const raise = stream.sendWindowUpdate.bind(stream);
  let readBytes = 0;
  stream.addEventListener('message', ({ data }) => {
    readBytes += data.byteLength;
  });
  stream.sendWindowUpdate = () => {
    if (readBytes < UPDATE_BYTES) return;
    readBytes = 0;
    raise();
  };
}
