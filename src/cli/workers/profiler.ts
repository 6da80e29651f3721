import { parentPort, workerData } from 'node:worker_threads';
import { answerWith } from '../../app/package.ts';
import { type ProfileRequest, profileCapture } from '../../app/profile.ts';

/** The thread that profiles a capture. Started by `profile` only. */
answerWith(parentPort, () => profileCapture(workerData as ProfileRequest));
