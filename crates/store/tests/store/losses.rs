//! What RabbitMQ has lost is remembered until it is made up for.

use nuncio_domain::Loss;

use crate::support::store;

#[tokio::test]
async fn a_loss_stays_noted_until_it_is_struck_off_and_once_more_if_it_happened_again() {
    let store = store().await;
    let lane = Loss::Lane("ep_1".parse().unwrap());
    assert_eq!(store.noted_losses().await.unwrap(), []);
    store.note_losses(&[]).await.unwrap();
    store.note_losses(&[lane.clone(), Loss::Rungs]).await.unwrap();
    let mut noted = store.noted_losses().await.unwrap();
    noted.sort_by_key(|noted| noted.loss.to_string());
    assert_eq!([&noted[0].loss, &noted[1].loss], [&lane, &Loss::Rungs]);

    store.strike_off(&noted[1]).await.unwrap();
    // Lost again while the first time is made up for.
    store.note_losses(std::slice::from_ref(&lane)).await.unwrap();
    store.strike_off(&noted[0]).await.unwrap();
    let again = store.noted_losses().await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].loss, lane);
    store.strike_off(&again[0]).await.unwrap();
    assert_eq!(store.noted_losses().await.unwrap(), []);
}
