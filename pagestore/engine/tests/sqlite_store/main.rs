//! Goal: the embedded store keeps its promises on a real file, between real processes, and
//! through real failures. Method: child processes are this test binary itself, told by its
//! environment which part to play; they are killed, limited and raced.

#[cfg(test)]
#[cfg(unix)]
mod crash;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod durability;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod fork;
#[cfg(test)]
#[cfg(unix)]
mod full;
#[cfg(test)]
mod newest;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tail;
