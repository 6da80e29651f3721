import { parentPort, workerData } from 'node:worker_threads';
import { type ProfileRequest, profileCapture } from '../../app/profile.ts';
import { answerWith } from '../../app/workers.ts';

/** The thread that profiles a capture. Started by `profile` only. */
answerWith(parentPort, () => profileCapture(workerData as ProfileRequest));
