import { describeError } from '@espalier/shared/errors'
import sharp from 'sharp'

// An executable: prints the size of the image file that it is given. @see image-folder.ts

sharp(process.argv[2])
  .metadata()
  .then(
    ({ width, height }) => process.stdout.write(JSON.stringify({ width, height })),
    (error: unknown) => {
      process.stderr.write(describeError(error))
      process.exitCode = 1
    },
  )
