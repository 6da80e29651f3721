import { parentPort, workerData } from 'node:worker_threads';
import type { CheckerSetup } from '../../app/replay/document.ts';
import type { AnswerToCheck } from '../../replay/check/answer-copy.ts';
import { AnswerComparer, checkAnswers } from '../../replay/check/checker.ts';
import { EncryptionKey } from '../../storage/capture/encryption.ts';
import { CaptureReader } from '../../storage/capture/reader.ts';

/** The thread that compares answers with recorded ones. Started by `replay --check` only. */
if (!parentPort) throw new Error('the checker runs as a worker thread');
const port = parentPort;
const { captureDirectory, encryptionKeyFile, comparing } = workerData as CheckerSetup;

const encryptionKey = encryptionKeyFile === null ? null : EncryptionKey.load(encryptionKeyFile);
const capture = new CaptureReader(captureDirectory, { encryptionKey });
const comparer = new AnswerComparer(comparing);
port.on('message', (answers: readonly AnswerToCheck[]) => {
  port.postMessage(checkAnswers(answers, (segment, id) => capture.payload({ segment, id }), comparer));
});
