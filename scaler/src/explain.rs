//! `scaler explain`: tells the records of ticks in plain words, and decides each of them again. Pure but for [`command`]
//! and [`cloudwatch`].

pub mod cloudwatch;
pub mod command;
pub mod select;
pub mod story;
pub mod tell;
