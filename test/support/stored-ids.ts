import { openCapture } from '../../src/storage/capture/reader.ts';

/**
 * Ids of the numbered requests in a capture, in order of arrival. Each row's payload is read and checked. An answer, if
 * its body was recorded, must have the id of its request.
 */
export function storedIds(directory: string): number[] {
  const capture = openCapture(directory);
  try {
    const ids: number[] = [];
    for (const row of capture.rows()) {
      const payload = capture.payload(row);
      const head = Buffer.from(payload?.request?.head ?? []).toString('latin1');
      const id = Number(/[?&]id=(\d+)/.exec(head)?.[1]);
      const body = Buffer.from(payload?.request?.body.kept ?? []).toString('utf8');
      if (!body.startsWith(`{"id":${id},`))
        throw new Error(`the body of request ${id} is ${body.slice(0, 60)}`);
      if (payload?.response === undefined) throw new Error(`request ${id} has no payload`);
      if (!head.startsWith('POST ')) throw new Error(`the head of request ${id} is ${head.slice(0, 60)}`);
      const answer = Buffer.from(payload.response?.body.kept ?? []).toString('utf8');
      if (answer !== '' && !answer.startsWith(`{"id":${id},`))
        throw new Error(`request ${id} was recorded with the answer ${answer.slice(0, 60)}`);
      ids.push(id);
    }
    return ids;
  } finally {
    capture.close();
  }
}
