//! Goal: the embedded store keeps its promises on a real file, between real processes, and
//! through real failures. Method: child processes are this test binary itself, told by its
//! environment which part to play; they are killed, limited and raced.

#[cfg(all(test, unix))]
mod crash;
#[cfg(all(test, target_os = "linux"))]
mod durability;
#[cfg(all(test, target_os = "linux"))]
mod fork;
#[cfg(all(test, unix))]
mod full;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod support;
