import mqtt from 'mqtt/dist/mqtt.esm'

/** Of `mqtt`, built for browsers: it speaks over WebSockets there. */
export const { connect, connectAsync } = mqtt
